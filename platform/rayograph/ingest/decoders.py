"""What the rows of a stream become: pixels seen through a view, or moments.

Shapes: n rows, s side of a square, z latent channels, y x latent grid.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from rayograph.conditioning.class_label import class_of
from rayograph.conditioning.protocol import Conditioner
from rayograph.conditioning.seen import ChosenFrame, Seen
from rayograph.config import View
from rayograph.errors import DataError
from rayograph.ingest.columns import from_npy, image_of, npy_header
from rayograph.runs.philox import uniform
from rayograph.runs.rng_streams import RngStream
from rayograph.shards.pixels.decode import render
from rayograph.shards.pixels.frames import Frame, middle_square, random_square
from rayograph.shards.rows import Rows
from rayograph.shards.sample import Sample

Columns = dict[str, np.ndarray]

BLOCK_BYTES = 32 << 20
"""About so many decoded pixels are handed on at a time."""


@runtime_checkable
class Content(Protocol):
    """How samples become rows of a batch. It travels to workers."""

    @property
    def row_bytes(self) -> int:
        """Of one decoded row, about."""
        ...

    @property
    def block_rows(self) -> int:
        """So many are decoded before they are handed on."""
        ...

    def decoder(self, positions: np.ndarray) -> Callable[[int, Sample], Columns]:
        """Decodes sample after sample: `(row, sample) → {column: value}`. Raises DataError naming a bad sample."""
        ...

    def columns(self, groups: list[tuple[Rows, np.ndarray]]) -> Columns | None:
        """All rows at once, each group's at its places; None where samples must be taken one by one."""
        ...


@dataclass(frozen=True)
class Images:
    """`pixels` (n, s, s, 3) uint8 and, where there are classes, `classes` (n,) int64; in the place of these what a
    conditioner, where there is one, reads of a sample.

    What is random in a view is drawn from (seed, position).
    """

    size: int
    view: View = field(default_factory=View)
    seed: int = 0
    conditioner: Conditioner | None = None
    factor: int = 1
    """Pixels a side of one latent cell, where images are encoded as they are learned."""

    @property
    def row_bytes(self) -> int:
        return self.size * self.size * 3

    @property
    def block_rows(self) -> int:
        return max(1, BLOCK_BYTES // self.row_bytes)

    def decoder(self, positions: np.ndarray) -> Callable[[int, Sample], Columns]:
        draws = None
        if self.view.is_random:
            draws = uniform(self.seed, RngStream.VIEW, torch.from_numpy(positions), 4).numpy()
        return partial(self._decode, draws, positions)

    def columns(self, groups: list[tuple[Rows, np.ndarray]]) -> Columns | None:
        return None

    def _decode(self, draws: np.ndarray | None, positions: np.ndarray, row: int, sample: Sample) -> Columns:
        choose = ChosenFrame(partial(self._frame, None if draws is None else draws[row]))
        if self.conditioner is None:
            told = _class(sample)
            return {"pixels": render(*image_of(sample), choose)} | told
        pixels = render(*image_of(sample), choose)
        grid, position = self.size // self.factor, int(positions[row])
        seen = Seen(self.size, grid, self.seed, position, pixels, choose.source, choose.frame)
        return {"pixels": pixels} | self.conditioner.decode_seen(sample, seen)

    def _frame(self, draws: np.ndarray | None, width: int, height: int) -> Frame:
        if draws is None:
            return middle_square(width, height, self.size)
        return random_square(width, height, self.size, draws, self.view.smallest_crop, self.view.flip_probability)


@dataclass(frozen=True)
class Moments:
    """`moments` (n, 2z, y, x) as they were stored, and what the conditioner reads of their samples."""

    shape: tuple[int, int, int]
    conditioner: Conditioner
    seed: int = 0
    factor: int = 1
    """Pixels a side of one latent cell."""

    @property
    def row_bytes(self) -> int:
        return 4 * int(np.prod(self.shape))

    @property
    def block_rows(self) -> int:
        return sys.maxsize  # nothing is decoded, and a slice's rows are copied fastest all at once

    def decoder(self, positions: np.ndarray) -> Callable[[int, Sample], Columns]:
        return partial(self._decode, positions)

    def columns(self, groups: list[tuple[Rows, np.ndarray]]) -> Columns | None:
        if self.conditioner.depends_on_view:
            return None
        total = sum(len(places) for _, places in groups)
        first, _ = groups[0]
        prefix, dtype, shape = npy_header(first.sample(0).members["npy"], first.keys[0])
        if shape != self.shape:
            return None
        moments = np.empty((total, int(np.prod(shape)) * dtype.itemsize), np.uint8)
        if not all(rows.scatter("npy", moments, places, prefix) for rows, places in groups):
            return None
        conditions = self.conditioner.decode_rows(groups)
        return None if conditions is None else {"moments": moments.view(dtype).reshape(total, *shape)} | conditions

    def _decode(self, positions: np.ndarray, row: int, sample: Sample) -> Columns:
        if "npy" not in sample.members:
            raise DataError(f"{sample.key}: expected moments (npy), got {', '.join(sample.members)}")
        moments = from_npy(sample.members["npy"], sample.key)
        if moments.shape != self.shape or moments.dtype.kind != "f":
            raise DataError(
                f"{sample.key}: expected moments of shape {self.shape}, got {moments.dtype} of shape {moments.shape}"
            )
        grid = self.shape[-1]
        seen = Seen(grid * self.factor, grid, self.seed, int(positions[row]))
        return {"moments": moments} | self.conditioner.decode_seen(sample, seen)


def _class(sample: Sample) -> Columns:
    return {"classes": np.array(class_of(sample), np.int64)} if "cls" in sample.members else {}
