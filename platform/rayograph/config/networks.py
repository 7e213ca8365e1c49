"""Declarations of the networks, in diffusers' own words. What no network can be built of is refused here."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from rayograph.config.base import NOT_IN_KEY, Channels, Declaration, Seed
from rayograph.config.conditioning import Classes
from rayograph.config.kinds import Kind, Kinds
from rayograph.errors import ConfigError

Widths = Annotated[tuple[Channels, ...], Field(min_length=1, max_length=16)]
"""One a level; every level but the first halves the grid."""

NORM_GROUPS = 8
"""Of the discriminator's layers, or one a channel where they have fewer."""

Layers = Annotated[int, Field(gt=0, le=64)]


class AutoencoderKind(Kind):
    """What can be known of a first stage before it is built. What is `implemented_by` is called with the declaration,
    and returns a `rayograph.models.autoencoder.AutoencoderNetwork`."""

    image_channels: Channels = 3
    latent_channels: Channels = 3

    @property
    def downsampling_factor(self) -> int:
        """Pixels a side of one latent cell: the paper's f."""
        raise NotImplementedError(f"{type(self).__name__}: expected a downsampling_factor")


class Autoencoder(AutoencoderKind):
    """diffusers' `AutoencoderKL`, or with a codebook its `VQModel`: the first stage (Rombach et al. 2022, sec. 3.1).

    Every entry of `block_out_channels` but the first halves the grid: three entries are f = 4. `codebook_size` makes
    the decoder begin with the nearest of so many codes (van den Oord et al. 2017) in the place of a posterior's draw.
    """

    implemented_by: ClassVar[str | type] = "rayograph.models.autoencoders.convolutional:build"

    kind: Annotated[Literal["convolutional"], NOT_IN_KEY] = "convolutional"  # older than kinds: no key says it
    codebook_size: Annotated[int, Field(gt=0, le=2**24)] | None = None
    block_out_channels: Widths = (128, 256, 512)
    layers_per_block: Layers = 2
    norm_num_groups: PositiveInt = 32
    mid_block_add_attention: bool = True

    @model_validator(mode="after")
    def _norms_fit(self) -> "Autoencoder":
        _groups_divide(self.block_out_channels, self.norm_num_groups)
        return self

    @property
    def downsampling_factor(self) -> int:
        return 2 ** (len(self.block_out_channels) - 1)


class Identity(AutoencoderKind):
    """Pixels as they are: latents are images in [-1, 1], for diffusion in pixel space (the paper's LDM-1)."""

    implemented_by: ClassVar[str | type] = "rayograph.models.autoencoders.identity:IdentityAutoencoder"

    kind: Literal["identity"] = "identity"

    @model_validator(mode="after")
    def _latents_are_images(self) -> "Identity":
        if self.latent_channels != self.image_channels:
            raise ValueError(
                f"latent_channels: expected image_channels {self.image_channels}, got {self.latent_channels}"
            )
        return self

    @property
    def downsampling_factor(self) -> int:
        return 1


AUTOENCODERS = Kinds(
    "autoencoders",
    {"convolutional": "rayograph.config.networks:Autoencoder", "identity": "rayograph.config.networks:Identity"},
    default="convolutional",
)

if TYPE_CHECKING:
    AnyAutoencoder = AutoencoderKind
else:
    AnyAutoencoder = AUTOENCODERS.annotation(AutoencoderKind)


class Discriminator(Declaration):
    """The patch discriminator (Isola et al. 2017): each logit judges one patch."""

    base_channels: Channels = 64
    num_layers: Annotated[int, Field(gt=0, le=16)] = 3

    @model_validator(mode="after")
    def _norms_fit(self) -> "Discriminator":
        for width in self.widths:
            if width % min(NORM_GROUPS, width):
                raise ValueError(
                    f"base_channels: expected layers of less than {NORM_GROUPS} channels or a multiple of it, which "
                    f"are normalised by group, got one of {width}"
                )
        return self

    @property
    def widths(self) -> list[int]:
        """Channels of the layers behind the first."""
        return [self.base_channels * min(2**layer, 8) for layer in range(1, self.num_layers + 1)]

    @property
    def smallest_image(self) -> int:
        """The side in pixels of the smallest image that has a patch: one logit is left of it."""
        return 3 * 2**self.num_layers


class PerceptualNetwork(Declaration):
    """The network whose features the perceptual loss compares.

    Without `weights_uri` it is a small convolutional network, initialised from `seed` and never trained: random
    features still see edges and texture, and need no download. The log says which one is in use.
    """

    weights_uri: str | None = None
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Of the file, refused where it differs. With None what was found stands in the record alone."""
    channels: Annotated[tuple[Channels, ...], Field(min_length=1)] = (16, 32, 64)
    seed: Seed = 0


class Denoiser(Declaration):
    """diffusers' `UNet2DModel`, conditioned on a class through its time embedding.

    `attention_levels` counts from the finest level, 0. The condition `num_classes` itself is the null condition.
    """

    version: ClassVar[int] = 2  # the middle attention's norm under scale_shift

    num_classes: Classes = 0
    """Of the data; "auto" is as many as it has, known once it is packed. 0 makes the model unconditional."""
    block_out_channels: Widths = (224, 448, 672, 896)
    layers_per_block: Layers = 2
    attention_levels: tuple[int, ...] = ()
    mid_block_attention: bool = True
    attention_head_dim: PositiveInt = 32
    """Channels of a head: a divisor of every level's that attends, and of the last one's with `mid_block_attention`."""
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
        if len(set(self.attention_levels)) < len(self.attention_levels):
            raise ValueError(f"attention_levels: expected each once, got {self.attention_levels}")
        return self

    @model_validator(mode="after")
    def _norms_and_heads_fit(self) -> "Denoiser":
        _groups_divide(self.block_out_channels, self.norm_num_groups)
        attending = [self.block_out_channels[level] for level in self.attention_levels]
        if self.mid_block_attention:
            attending.append(self.block_out_channels[-1])
        for width in attending:
            if width % self.attention_head_dim:
                raise ValueError(
                    f"attention_head_dim: expected a divisor of {width}, the channels of a level that attends, got "
                    f"{self.attention_head_dim}"
                )
        return self


def _groups_divide(widths: Iterable[int], groups: int) -> None:
    for width in widths:
        if width % groups:
            raise ValueError(f"norm_num_groups: expected a divisor of every one of {widths}, got {groups}")
