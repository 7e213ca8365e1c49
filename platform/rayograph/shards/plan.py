"""The plan: which sample stands at which position of an endless stream. Pure arithmetic, no state, no Ray.

A position counts images seen. Epoch e is the positions [eN, (e+1)N) of a data set of N samples, and a permutation of
it. Of every global batch of B positions each of L lanes has the same B / L consecutive ones; a lane is one of L
parallel walks through the data. The order of samples is a function of (shards, seed, B, L) alone. A worker owns some
lanes, and what a lane gives never depends on who owns it: any number of workers that divides L, starting at any step,
sees the same stream.

How an epoch is laid out: each shard is cut into slices of consecutive rows, the slices are shuffled into one sequence,
the sequence is cut into one piece for each lane, and within its piece a lane is shuffled window by window. So a lane
reads long ranges, and mixes over a window of several slices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from rayograph.errors import ConfigError, DataError


@dataclass(frozen=True)
class Plan:
    """The sample order over shards of `counts` samples each. Raises DataError if there is no sample at all."""

    counts: tuple[int, ...]
    seed: int
    global_batch_size: int
    lanes: int
    slice_rows: int = 32
    window_rows: int = 1024

    def __post_init__(self) -> None:
        if sum(self.counts) < 1:
            raise DataError("plan: expected at least one sample, got none")
        if self.global_batch_size % self.lanes:
            raise ConfigError(f"lanes: expected a divisor of {self.global_batch_size}, got {self.lanes}")

    @property
    def size(self) -> int:
        """Samples in the data set: the length of an epoch."""
        return sum(self.counts)

    def lanes_of(self, worker: int, workers: int) -> range:
        """The lanes that a worker owns. Raises ConfigError unless the number of workers divides the lanes."""
        if self.lanes % workers:
            raise ConfigError(f"workers: expected a divisor of {self.lanes} lanes, got {workers}")
        share = self.lanes // workers
        return range(worker * share, (worker + 1) * share)

    def positions(self, steps: range, worker: int = 0, workers: int = 1) -> np.ndarray:
        """(len(steps), B / workers) int64: the positions a worker sees at each step, in order."""
        rows = self.global_batch_size // self.lanes
        owned = self.lanes_of(worker, workers)
        within = np.arange(owned.start * rows, owned.stop * rows, dtype=np.int64)
        return np.asarray(steps, np.int64)[:, None] * self.global_batch_size + within[None, :]

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shard number and row in the shard of the sample at each position, both int64 and shaped like `positions`."""
        flat = np.asarray(positions, np.int64).ravel()
        epochs = flat // self.size
        lanes = (flat % self.global_batch_size) // (self.global_batch_size // self.lanes)
        shards, rows = np.empty_like(flat), np.empty_like(flat)
        for epoch in np.unique(epochs).tolist():
            layout = _epoch(self, epoch)
            here = np.flatnonzero(epochs == epoch)
            for lane in np.unique(lanes[here]).tolist():
                mine = here[lanes[here] == lane]
                turn = self._rows_before(flat[mine], lane) - self._rows_before(epoch * self.size, lane)
                shards[mine], rows[mine] = layout.sample(layout.place(lane, turn))
        return shards.reshape(np.shape(positions)), rows.reshape(np.shape(positions))

    def _rows_before(self, position: np.ndarray | int, lane: int) -> np.ndarray:
        """How many of the positions below `position` belong to `lane`."""
        rows = self.global_batch_size // self.lanes
        whole, rest = np.divmod(position, self.global_batch_size)
        return np.asarray(whole * rows + np.clip(rest - lane * rows, 0, rows))


@dataclass(frozen=True)
class _Epoch:
    """One epoch's layout: slices in their shuffled order, cut into lanes' pieces."""

    plan: Plan
    epoch: int

    @cached_property
    def slices(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each slice in shuffled order: shard, first row in it, first place in the epoch's sequence."""
        shard, first, length = _slices(self.plan.counts, self.plan.slice_rows)
        order = np.random.default_rng((self.plan.seed, 0, self.epoch)).permutation(len(shard))
        starts = np.cumsum(length[order]) - length[order]
        return shard[order], first[order], starts

    @cached_property
    def piece_starts(self) -> np.ndarray:
        """(lanes + 1,) places where each lane's piece of the sequence begins; the last is the end."""
        plan = self.plan
        begin, end = self.epoch * plan.size, (self.epoch + 1) * plan.size
        lengths = [int(plan._rows_before(end, lane) - plan._rows_before(begin, lane)) for lane in range(plan.lanes)]
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def place(self, lane: int, turn: np.ndarray) -> np.ndarray:
        """Place in the sequence of a lane's turn-th row: the piece's start, then a shuffle within windows."""
        start, stop = self.piece_starts[lane], self.piece_starts[lane + 1]
        width = self.plan.window_rows
        places = np.empty_like(turn)
        for window in np.unique(turn // width).tolist():
            length = int(min(width, (stop - start) - window * width))
            shuffle = np.random.default_rng((self.plan.seed, 1, self.epoch, lane, window)).permutation(length)
            here = turn // width == window
            places[here] = start + window * width + shuffle[turn[here] % width]
        return places

    def sample(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shard and row at places of the sequence."""
        shard, first, starts = self.slices
        which = np.searchsorted(starts, place, side="right") - 1
        return shard[which], first[which] + (place - starts[which])


@lru_cache(maxsize=2)
def _epoch(plan: Plan, epoch: int) -> _Epoch:
    return _Epoch(plan, epoch)


@lru_cache(maxsize=2)
def _slices(counts: Sequence[int], slice_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shard, first row and length of every slice."""
    sizes = np.asarray(counts, np.int64)
    pieces = -(-sizes // slice_rows)
    shard = np.repeat(np.arange(len(sizes)), pieces)
    first = (np.arange(len(shard)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * slice_rows
    return shard, first, np.minimum(slice_rows, sizes[shard] - first)
