"""Declarations of the networks, in diffusers' own words."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PositiveInt, model_validator

from rayograph.config.base import Declaration, Seed
from rayograph.errors import ConfigError


class Autoencoder(Declaration):
    """diffusers' `AutoencoderKL`, or with a codebook its `VQModel`: the first stage (Rombach et al. 2022, sec. 3.1).

    Every entry of `block_out_channels` but the first halves the grid: three entries are f = 4. `codebook_size` makes
    the decoder begin with the nearest of so many codes (van den Oord et al. 2017) in the place of a posterior's draw.
    """

    image_channels: PositiveInt = 3
    latent_channels: PositiveInt = 3
    codebook_size: PositiveInt | None = None
    block_out_channels: tuple[PositiveInt, ...] = (128, 256, 512)
    layers_per_block: PositiveInt = 2
    norm_num_groups: PositiveInt = 32
    mid_block_add_attention: bool = True

    @property
    def downsampling_factor(self) -> int:
        """Pixels a side of one latent cell: the paper's f."""
        return 2 ** (len(self.block_out_channels) - 1)


class Discriminator(Declaration):
    """The patch discriminator (Isola et al. 2017): each logit judges one patch."""

    base_channels: PositiveInt = 64
    num_layers: PositiveInt = 3


class PerceptualNetwork(Declaration):
    """The network whose features the perceptual loss compares.

    Without `weights_uri` it is a small convolutional network, initialised from `seed` and never trained: random
    features still see edges and texture, and need no download. The log says which one is in use.
    """

    weights_uri: str | None = None
    channels: tuple[PositiveInt, ...] = (16, 32, 64)
    seed: Seed = 0


def _as_classes(given: Any) -> Any:
    if given == "auto" or (isinstance(given, int) and not isinstance(given, bool) and given >= 0):
        return given
    raise ValueError(f"expected a number from 0 on, or 'auto', got {given!r}")


Classes = Annotated[int | Literal["auto"], BeforeValidator(_as_classes)]


class Denoiser(Declaration):
    """diffusers' `UNet2DModel`, conditioned on a class through its time embedding.

    `attention_levels` counts from the finest level, 0. The condition `num_classes` itself is the null condition.
    """

    num_classes: Classes = 0
    """Of the data; "auto" is as many as it has, known once it is packed. 0 makes the model unconditional."""
    block_out_channels: tuple[PositiveInt, ...] = (224, 448, 672, 896)
    layers_per_block: PositiveInt = 2
    attention_levels: tuple[int, ...] = ()
    mid_block_attention: bool = True
    attention_head_dim: PositiveInt = 32
    norm_num_groups: PositiveInt = 32
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"

    @property
    def known_classes(self) -> int:
        """The number of classes. Raises ConfigError while it is "auto": a training takes it from its data."""
        if self.num_classes == "auto":
            raise ConfigError("num_classes: expected a number by now, got 'auto'")
        return self.num_classes

    @model_validator(mode="after")
    def _levels_exist(self) -> "Denoiser":
        for level in self.attention_levels:
            if not 0 <= level < len(self.block_out_channels):
                raise ValueError(f"attention_levels: expected 0 to {len(self.block_out_channels) - 1}, got {level}")
        return self
