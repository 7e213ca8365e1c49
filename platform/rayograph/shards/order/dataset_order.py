"""One data set's own endless sequence: epoch after epoch its samples, turned, cut into slices and shuffled.

A place is a number in the data set's own stream: place q belongs to lane q mod L, and epoch e is the places
[eN, (e+1)N). Each lane takes its own piece of the epoch's sequence of slices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rayograph.shards.order.permutation import mix, permute

SLICE_BYTES = 1 << 20
"""A slice is about this long: reading it takes about as long as asking an object store for it."""

SLICES_A_LANE = 64
"""At least as many slices an epoch and lane, so that small data sets are shuffled finely."""


@dataclass(frozen=True)
class DataSet:
    """Shards of `counts` samples each, read in slices of `slice_rows`; `weight` is its share among others."""

    counts: tuple[int, ...]
    slice_rows: int = 32
    weight: float = 1.0

    def __reduce__(self) -> tuple[type["DataSet"], tuple[tuple[int, ...], int, float]]:
        """What it is made of, and nothing derived: another thread may be at work with that."""
        return type(self), (self.counts, self.slice_rows, self.weight)

    @cached_property
    def size(self) -> int:
        """Samples: the length of an epoch."""
        return sum(self.counts)

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum(self.counts, dtype=np.int64)

    def locate(self, places: np.ndarray, lanes: int, key: int) -> tuple[np.ndarray, np.ndarray]:
        """Shard and row at each of `places` (n,) int64."""
        epochs = places // self.size
        rows = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            rows[here] = self._rows(self._along(places[here], epoch, lanes), mix(key + epoch))
        return self.shard_of(rows)

    def shard_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shard and row in it of rows numbered through all shards."""
        shards = np.searchsorted(self._ends, rows, side="right")
        return shards, rows - (self._ends[shards] - np.asarray(self.counts, np.int64)[shards])

    def epochs(self, start: int, stop: int, lane: int, lanes: int) -> Iterator[tuple[int, int]]:
        """A lane's turns [start, stop), cut where epochs end."""
        while start < stop:
            epoch = (start * lanes + lane) // self.size
            end = min(stop, -(-((epoch + 1) * self.size - lane) // lanes))
            yield start, end
            start = end

    def _along(self, places: np.ndarray, epoch: int, lanes: int) -> np.ndarray:
        """Where places of an epoch stand in its sequence: lane after lane, each lane in its own order."""
        lane, begin = places % lanes, epoch * self.size
        first_turn = -((lane - begin) // lanes)
        return _below(begin + self.size, lane, lanes) - _below(begin, lane, lanes) + places // lanes - first_turn

    def _rows(self, along: np.ndarray, key: int) -> np.ndarray:
        """Rows at points of an epoch's sequence. The few rows that fill no slice come last, others every epoch."""
        whole = self.size // self.slice_rows
        slices, within = np.divmod(along, self.slice_rows)
        moved = permute(np.minimum(slices, whole - 1), whole, key) if whole else slices
        rows = np.where(slices < whole, moved * self.slice_rows + within, along)
        return (rows + mix(key ^ 1) % self.size) % self.size


def slice_rows(samples: int, total_bytes: int, lanes: int) -> int:
    """How many rows a slice should have, by the samples' mean size: a property of the data, not of the cluster."""
    by_bytes = SLICE_BYTES * samples // max(1, total_bytes)
    return max(1, min(by_bytes, samples // (SLICES_A_LANE * lanes), 1024))


def _below(bound: int, lane: np.ndarray, lanes: int) -> np.ndarray:
    """How many places below `bound` belong to lanes before `lane`."""
    turns, rest = divmod(bound, lanes)
    return turns * lane + np.minimum(rest, lane)
