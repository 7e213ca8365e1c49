"""How a sample's image is seen, and by which draws: whatever else is said of it is seen the same way.

Shapes: h w pixels, s side of a square.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rayograph.errors import DataError
from rayograph.runs.rng_streams import RngStream
from rayograph.shards.pixels.frames import Frame, middle_square

_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Seen:
    """One sample as a training sees it at a position of its stream."""

    side: int
    """Of the square that is seen, in pixels."""
    grid: int
    """Side of its latents, in cells."""
    seed: int = 0
    position: int = 0
    pixels: np.ndarray | None = None
    """(s, s, 3) uint8; None where latents are read that were encoded before."""
    source: tuple[int, int] | None = None
    """Width and height of the upright image; None where latents are read, which are of its middle square."""
    frame: Frame | None = None
    """The part of the image that is seen; None for the middle square of whatever is there."""

    def part(self, width: int, height: int, side: int, name: str) -> Frame:
        """The same part of a map of (width, height), shown at `side` × `side`.

        Raises DataError naming the sample for a map that is of another shape than its image.
        """
        if self.frame is None or self.source is None:
            return middle_square(width, height, side)
        across, down = self.source
        if abs(width * down - height * across) > max(across, down):  # a pixel of rounding is allowed
            raise DataError(f"{name}: expected a map of the image's shape, {across}×{down}, got {width}×{height}")
        # A 100×60 image of which (20, 0, 60, 60) is seen: of a map of 50×30 it is (10, 0, 30, 30).
        left, top = round(self.frame.left * width / across), round(self.frame.top * height / down)
        right = round((self.frame.left + self.frame.width) * width / across)
        bottom = round((self.frame.top + self.frame.height) * height / down)
        return Frame(left, top, max(1, right - left), max(1, bottom - top), (side, side), self.frame.flip)

    def rng(self, stream: RngStream) -> np.random.Generator:
        """Draws of this position alone, the same on any worker and in any batch."""
        return np.random.Generator(
            np.random.Philox(key=(self.seed & _MASK, int(stream)), counter=(0, 0, 0, self.position))
        )


@dataclass
class ChosenFrame:
    """Chooses an image's frame, and keeps it for what else is seen of the sample."""

    choose: Callable[[int, int], Frame]
    frame: Frame | None = None
    source: tuple[int, int] | None = None

    def __call__(self, width: int, height: int) -> Frame:
        """The frame of an image of (width, height)."""
        self.source, self.frame = (width, height), self.choose(width, height)
        return self.frame


@dataclass(frozen=True)
class Canvas:
    """What is drawn: pixels high and wide, at `factor` pixels a side of a latent cell."""

    height: int
    width: int
    factor: int = 1

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Cells high and wide."""
        return self.height // self.factor, self.width // self.factor
