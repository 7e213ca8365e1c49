"""Declarations of the second stage's networks. What no network can be built of is refused here."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, SerializeAsAny, model_validator

from rayograph.config.declaration import NOT_IN_KEY, Channels
from rayograph.config.job.conditioners import Classes, Ways
from rayograph.config.job.networks import Layers, Levels, Widths, groups_divide, require_levels
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
    attention_levels: Levels = ()
    mid_block_attention: bool = True
    attention_head_dim: PositiveInt = 32
    """Channels of a head: a divisor of every level's that attends, and of the last one's with `mid_block_attention`."""
    num_attention_heads: PositiveInt | None = None
    """Heads of every attention, however many channels it has, in the place of `attention_head_dim`."""
    norm_num_groups: PositiveInt = 32
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    resample_type: Literal["conv", "resnet"] = "conv"
    """What halves and doubles the grid between levels: a convolution, or a residual block that is told of the time."""

    @model_validator(mode="after")
    def _levels_exist(self) -> "Denoiser":
        require_levels(self.attention_levels, self.block_out_channels)
        return self

    @model_validator(mode="after")
    def _norms_and_heads_fit(self) -> "Denoiser":
        groups_divide(self.block_out_channels, self.norm_num_groups)
        for width in self.attending_widths:
            _require_heads(width, self.num_attention_heads, self.attention_head_dim)
        return self

    @property
    def attending_widths(self) -> list[int]:
        """Channels of every level that attends, and of the middle block where it does."""
        found = [self.block_out_channels[level] for level in self.attention_levels]
        return [*found, self.block_out_channels[-1]] if self.mid_block_attention else found

    @property
    def size_multiple(self) -> int:
        return 2 ** (len(self.block_out_channels) - 1)

    def require_grid(self, side: int) -> None:
        _require_halvings(self.block_out_channels, side)

    def require_ways(self, gives: Ways) -> None:
        _require_no_tokens(self, gives)


class ConditionDenoiser(DenoiserKind):
    """diffusers' `UNet2DConditionModel`: transformers that attend to the grid itself and to the conditioner's tokens
    (Rombach et al. 2022, app. E.2.1). A vector may be added to the time embedding besides.
    """

    implemented_by: ClassVar[str | type] = "rayograph.models.denoisers.unet_condition:build"

    kind: Literal["unet_condition"] = "unet_condition"
    block_out_channels: Widths = (320, 640, 1280, 1280)
    """Channels by level; every level but the first halves the grid."""
    layers_per_block: Layers = 2
    """Residual blocks of a level on the way in; there is one more on the way out."""
    attention_levels: Levels = (0, 1, 2)
    """Levels with transformers, counted from the finest, 0."""
    mid_block_attention: bool = True
    """Whether there is a transformer in the middle, between two residual blocks; without, there is one such block."""
    num_attention_heads: PositiveInt | tuple[PositiveInt, ...] = 8
    """Heads of every attention, or by level; the middle's are the last level's. In diffusers' configuration this stands
    as `attention_head_dim`."""
    attention_head_dim: PositiveInt | None = None
    """Channels of a head, at every level as many, in the place of `num_attention_heads`."""
    transformer_layers_per_block: Layers | tuple[Layers, ...] = 1
    """Blocks of a transformer, everywhere or by level: each attends to itself, to the tokens, then is a perceptron."""
    cross_attention_dim: Channels = 1280
    """Channels of the conditioner's tokens."""
    norm_num_groups: PositiveInt = 32
    """Groups of channels that are normalised together: a divisor of every level's."""
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    """Whether the time is added to a residual block's channels, or scales and shifts them."""

    @model_validator(mode="after")
    def _levels_norms_and_heads_fit(self) -> "ConditionDenoiser":
        widths = self.block_out_channels
        require_levels(self.attention_levels, widths)
        groups_divide(widths, self.norm_num_groups)
        for name in ("num_attention_heads", "transformer_layers_per_block"):
            said = getattr(self, name)
            if isinstance(said, tuple) and len(said) != len(widths):
                raise ValueError(f"{name}: expected one number, or one for each of {len(widths)} levels, got {said}")
        for level in self.attending_levels:
            number = None if self.attention_head_dim is not None else self.heads[level]
            _require_heads(widths[level], number, self.attention_head_dim)
        return self

    @property
    def attending_levels(self) -> Levels:
        """Those with transformers, and the last one for a middle that has one."""
        last = len(self.block_out_channels) - 1
        return (*self.attention_levels, last) if self.mid_block_attention else self.attention_levels

    @property
    def heads(self) -> tuple[int, ...]:
        """Number of heads by level, whichever field says it."""
        if self.attention_head_dim is not None:
            return tuple(max(1, width // self.attention_head_dim) for width in self.block_out_channels)
        said = self.num_attention_heads
        return said if isinstance(said, tuple) else (said,) * len(self.block_out_channels)

    @property
    def size_multiple(self) -> int:
        return 2 ** (len(self.block_out_channels) - 1)

    def require_grid(self, side: int) -> None:
        _require_halvings(self.block_out_channels, side)

    def require_ways(self, gives: Ways) -> None:
        if not gives.cross_attention:
            raise ConfigError("cross_attention_dim: expected a conditioner that gives tokens to attend to, got none")


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


def _require_halvings(widths: tuple[int, ...], side: int) -> None:
    multiple = 2 ** (len(widths) - 1)
    if side % multiple:
        raise ConfigError(
            f"block_out_channels: {len(widths)} levels need a latent grid divisible by {multiple}, got {side}×{side}"
        )


def _require_heads(width: int, number: int | None, channels: int | None) -> None:
    """Raise ValueError where the channels of a level are not divided by its heads, or by the channels of one."""
    name, said = ("attention_head_dim", channels) if number is None else ("num_attention_heads", number)
    if said is not None and width % said:
        raise ValueError(f"{name}: expected a divisor of {width}, the channels of a level that attends, got {said}")


def _require_no_tokens(declared: DenoiserKind, gives: Ways) -> None:
    if gives.cross_attention:
        raise ConfigError(f"kind: expected a denoiser that attends to its conditioner's tokens, got {declared.kind!r}")


DENOISERS = Kinds(
    "denoisers",
    {
        "unet": "rayograph.config.job.denoisers:Denoiser",
        "unet_condition": "rayograph.config.job.denoisers:ConditionDenoiser",
        "dit": "rayograph.config.job.denoisers:DiT",
    },
    default="unet",
)

AnyDenoiser = Annotated[SerializeAsAny[DenoiserKind], DENOISERS]
