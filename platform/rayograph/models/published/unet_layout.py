"""What a published U-Net's weights say of its topology, and what its configuration has to say beside.

input_blocks.0.0                   the first convolution
input_blocks.{i}.0, .1             a residual block, what attends behind it; or what halves the grid
middle_block.0, .1, .2             residual block, attention, residual block
output_blocks.{i}.0, .1, .2        a residual block, what attends behind it, what doubles the grid
"""

import re
from dataclasses import dataclass
from typing import Any

from rayograph.errors import DataError
from rayograph.models.published.accounting import Weights

_INPUT = re.compile(r"input_blocks\.(\d+)\..+")
_DEPTH = re.compile(r"middle_block\.1\.transformer_blocks\.(\d+)\..+")
_DOUBLES = re.compile(r"output_blocks\.(\d+)\.[12]\.(conv\.weight|in_layers\.0\.weight)")


@dataclass(frozen=True)
class Heads:
    """Of attention: so many at every place, or each of so many channels. No weight tells."""

    number: int | None = None
    channels: int | None = None

    def of(self, width: int, where: str) -> int:
        """Return how many heads so many channels have. Raises DataError where they do not divide them."""
        found = self.number or width // (self.channels or width)
        if found == 0 or width % found or (self.number is None and width % (self.channels or width)):
            said = f"{self.number} heads" if self.number else f"heads of {self.channels} channels"
            raise DataError(f"{where}: expected heads that divide {width} channels, got {said}")
        return found


@dataclass(frozen=True)
class UNetLayout:
    """Levels count from the finest, 0."""

    in_channels: int
    out_channels: int
    widths: tuple[int, ...]
    layers: int
    """Residual blocks of a level on the way in; one more on the way out."""
    attends: tuple[bool, ...]
    mid_attends: bool
    resnet_sampling: bool
    """Whether residual blocks halve and double the grid, in the place of convolutions."""
    scale_shift: bool
    context: int | None
    """Channels of the tokens that it attends to; None of one that attends to itself alone."""
    depth: int
    """Blocks of a transformer."""

    @staticmethod
    def of(weights: Weights, where: str) -> "UNetLayout":
        """Read it from names and shapes. Raises DataError where they are no U-Net's."""
        try:
            return _read(weights)
        except (KeyError, IndexError) as error:
            raise DataError(f"{where}: expected a denoiser's weights, found no {error.args[0]}") from error

    @property
    def levels(self) -> int:
        return len(self.widths)

    def block_of(self, number: int) -> tuple[int, int]:
        """Return level and place of an input block: of 2 layers, 1 and 2 are (0, 0), (0, 1), and 3, which halves,
        (0, 2)."""
        return divmod(number - 1, self.layers + 1)

    def attending_widths(self) -> list[int]:
        """Channels wherever something attends, level by level, the middle's last."""
        found = [width for width, attends in zip(self.widths, self.attends, strict=True) if attends]
        return [*found, self.widths[-1]] if self.mid_attends else found


def unet_config(layout: UNetLayout, heads: Heads, sample_size: int, where: str) -> dict[str, Any]:
    """Return diffusers' arguments: of a UNet2DConditionModel for one with a context, else of a UNet2DModel.

    There, `num_attention_heads` is no argument of diffusers', which knows channels a head alone: it is said only where
    these would differ from level to level.
    """
    shared: dict[str, Any] = {
        "sample_size": sample_size,
        "in_channels": layout.in_channels,
        "out_channels": layout.out_channels,
        "block_out_channels": layout.widths,
        "layers_per_block": layout.layers,
        "norm_num_groups": 32,
        "resnet_time_scale_shift": "scale_shift" if layout.scale_shift else "default",
    }
    if layout.context is not None:
        if layout.resnet_sampling or not layout.mid_attends:
            raise DataError(f"{where}: expected convolutions that halve the grid, and a middle that attends to tokens")
        return shared | {
            "down_block_types": _types(layout.attends, "CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": _types(layout.attends[::-1], "CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": layout.context,
            "transformer_layers_per_block": layout.depth,
            "attention_head_dim": tuple(heads.of(width, where) for width in layout.widths),  # there: their number
        }
    each = {width // heads.of(width, where) for width in layout.attending_widths()}
    kind = "Resnet{}sampleBlock2D" if layout.resnet_sampling else "{}Block2D"
    config = shared | {
        "down_block_types": _types(layout.attends, "AttnDownBlock2D", kind.format("Down")),
        "up_block_types": _types(layout.attends[::-1], "AttnUpBlock2D", kind.format("Up")),
        "downsample_type": "resnet" if layout.resnet_sampling else "conv",
        "upsample_type": "resnet" if layout.resnet_sampling else "conv",
        "add_attention": layout.mid_attends,
        "attention_head_dim": min(each, default=32),
        "attn_norm_num_groups": 32 if layout.scale_shift else None,  # which diffusers leaves out there, unless told
    }
    return config | ({"num_attention_heads": heads.number} if len(each) > 1 else {})


def _types(attends: tuple[bool, ...], attending: str, plain: str) -> tuple[str, ...]:
    return tuple(attending if each else plain for each in attends)


def _read(weights: Weights) -> UNetLayout:
    blocks = 1 + max((int(found[1]) for found in map(_INPUT.fullmatch, weights) if found), default=1)
    doubling = [int(found[1]) for found in map(_DOUBLES.fullmatch, weights) if found]
    period = min(doubling) + 1 if doubling else blocks
    levels, layers = blocks // period, period - 1
    first = [1 + period * level for level in range(levels)]
    widths = tuple(weights[f"input_blocks.{number}.0.out_layers.3.weight"].shape[0] for number in first)
    parts = [
        {name.split(".")[3] for name in weights if name.startswith(f"input_blocks.{number}.1.")} for number in first
    ]
    tokens = weights.get("middle_block.1.transformer_blocks.0.attn2.to_k.weight")
    depth = 1 + max((int(found[1]) for found in map(_DEPTH.fullmatch, weights) if found), default=0)
    told = weights["input_blocks.1.0.emb_layers.1.weight"].shape[0]
    return UNetLayout(
        in_channels=weights["input_blocks.0.0.weight"].shape[1],
        out_channels=weights["out.2.weight"].shape[0],
        widths=widths,
        layers=layers,
        attends=tuple(bool(found) for found in parts),
        mid_attends="middle_block.1.norm.weight" in weights,
        resnet_sampling=f"input_blocks.{period}.0.in_layers.0.weight" in weights and levels > 1,
        scale_shift=told == 2 * widths[0],
        context=None if tokens is None else tokens.shape[1],
        depth=depth,
    )
