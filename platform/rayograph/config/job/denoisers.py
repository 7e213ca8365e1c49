"""Declarations of the second stage's networks. What no network can be built of is refused here."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, SerializeAsAny, model_validator

from rayograph.config.declaration import NOT_IN_KEY, Channels
from rayograph.config.job.conditioners import Classes, Ways
from rayograph.config.job.networks import Layers, Widths, groups_divide
from rayograph.config.kinds import Kind, Kinds
from rayograph.errors import ConfigError


class DenoiserKind(Kind):
    """What can be known of a denoiser before it is built. What is `implemented_by` is called with the declaration, the
    latents' channels, their side and the `Ways` that its conditioner gives, and returns a
    `rayograph.models.denoiser.DenoiserNetwork`."""

    num_classes: Classes = 0
    """Of the data; "auto" is as many as it has, known once it is packed. 0 makes the model unconditional."""

    @property
    def known_classes(self) -> int:
        """The number of classes. Raises ConfigError while it is "auto": a training takes it from its data."""
        if self.num_classes == "auto":
            raise ConfigError("num_classes: expected a number by now, got 'auto'")
        return self.num_classes

    @property
    def size_multiple(self) -> int:
        """What the sides of a latent grid must be multiples of."""
        return 1

    def require_grid(self, side: int) -> None:
        """Raise ConfigError, naming the field, where latents of this side do not suit the network."""
        if side % self.size_multiple:
            raise ConfigError(
                f"size_multiple: expected a latent grid divisible by {self.size_multiple}, got {side}×{side}"
            )

    def require_ways(self, gives: Ways) -> None:
        """Raise ConfigError, naming the field, where conditions come by a way in that the network will not have, or do
        not by one that it needs. What is not refused here is, once it is built, by its spec."""


class Denoiser(DenoiserKind):
    """diffusers' `UNet2DModel`, conditioned on a class through its time embedding.

    `attention_levels` counts from the finest level, 0. The condition `num_classes` itself is the null condition.
    """

    implemented_by: ClassVar[str | type] = "rayograph.models.denoisers.unet:build"
    version: ClassVar[int] = 2  # the middle attention's norm under scale_shift

    kind: Annotated[Literal["unet"], NOT_IN_KEY] = "unet"  # older than kinds: no key says it
    block_out_channels: Widths = (224, 448, 672, 896)
    layers_per_block: Layers = 2
    attention_levels: tuple[int, ...] = ()
    mid_block_attention: bool = True
    attention_head_dim: PositiveInt = 32
    """Channels of a head: a divisor of every level's that attends, and of the last one's with `mid_block_attention`."""
    norm_num_groups: PositiveInt = 32
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"

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
        groups_divide(self.block_out_channels, self.norm_num_groups)
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

    @property
    def size_multiple(self) -> int:
        return 2 ** (len(self.block_out_channels) - 1)

    def require_grid(self, side: int) -> None:
        if side % self.size_multiple:
            raise ConfigError(
                f"block_out_channels: {len(self.block_out_channels)} levels need a latent grid divisible by "
                f"{self.size_multiple}, got {side}×{side}"
            )

    def require_ways(self, gives: Ways) -> None:
        _require_no_tokens(self, gives)


class DiT(DenoiserKind):
    """A transformer over patches of the latents, steered by adaptive layer norms (Peebles & Xie 2023: adaLN-zero).

    The defaults are DiT-XL/2. Positions are sines and cosines over the trained grid, between which those of another
    size lie.
    """

    implemented_by: ClassVar[str | type] = "rayograph.models.denoisers.dit:DiTDenoiser"

    kind: Literal["dit"] = "dit"
    patch_size: Annotated[int, Field(gt=0, le=64)] = 2
    """Cells a side of one token: a divisor of the latents' grid."""
    num_layers: Annotated[int, Field(gt=0, le=256)] = 28
    num_attention_heads: Annotated[int, Field(gt=0, le=256)] = 16
    attention_head_dim: Channels = 72
    """Channels of a head; a token has as many as all heads together."""
    mlp_ratio: Annotated[int, Field(gt=0, le=64)] = 4
    """Times a token's channels that the width between the two layers of a block's perceptron has."""

    @property
    def hidden_size(self) -> int:
        """Channels of a token, and the width of the conditioning vector."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def size_multiple(self) -> int:
        return self.patch_size

    def require_grid(self, side: int) -> None:
        if side % self.patch_size:
            raise ConfigError(f"patch_size: expected a divisor of the latent grid {side}×{side}, got {self.patch_size}")

    def require_ways(self, gives: Ways) -> None:
        _require_no_tokens(self, gives)

    @model_validator(mode="after")
    def _positions_fit(self) -> "DiT":
        if self.hidden_size % 4:
            raise ValueError(
                "attention_head_dim: expected num_attention_heads × attention_head_dim to be a multiple of 4, a sine "
                f"and a cosine of each of two coordinates, got {self.hidden_size}"
            )
        return self


def _require_no_tokens(declared: DenoiserKind, gives: Ways) -> None:
    if gives.cross_attention:
        raise ConfigError(f"kind: expected a denoiser that attends to its conditioner's tokens, got {declared.kind!r}")


DENOISERS = Kinds(
    "denoisers",
    {"unet": "rayograph.config.job.denoisers:Denoiser", "dit": "rayograph.config.job.denoisers:DiT"},
    default="unet",
)

AnyDenoiser = Annotated[SerializeAsAny[DenoiserKind], DENOISERS]
