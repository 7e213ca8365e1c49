"""The plan: which sample stands at which position of an endless stream. Pure arithmetic, no tables, no state, no Ray.

A position counts images seen. Of L lanes, position p belongs to lane p mod L and is its turn p // L; a step is the B
consecutive positions of a global batch. A worker owns some lanes, and what a lane gives never depends on who owns it:
any number of workers that divides L, starting at any step, sees the same stream. The order is a function of (shards,
seed, B, L) alone.

With one data set of N samples, epoch e is the positions [eN, (e+1)N) and a permutation of the data set:

- the rows of all shards stand in a circle, which is turned by a random amount and cut into slices of consecutive rows;
- the slices are put into a random order, computed slice by slice (permutation.py), so that nothing is ever laid out;
- that sequence is cut into one piece a lane, and a lane is shuffled within windows of a few steps.

So all that a worker needs for a window are a few whole slices, each one range read: long enough to read fast, many
enough to mix. Several data sets are mixed by weight: of every window each has its share, and its own epochs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rayograph.errors import ConfigError, DataError
from rayograph.shards.order.dataset_order import DataSet
from rayograph.shards.order.permutation import mix

WINDOW_SLICES = 128
"""Slices that a window mixes, over all lanes."""


@dataclass(frozen=True)
class Plan:
    """The sample order over the shards of one or several data sets.

    Raises DataError for a data set without samples, ConfigError where the lanes do not divide the batch.
    """

    sets: tuple[DataSet, ...]
    seed: int
    global_batch_size: int
    lanes: int
    window_slices: int = WINDOW_SLICES

    def __post_init__(self) -> None:
        if not self.sets or any(part.size < 1 for part in self.sets):
            raise DataError("plan: expected at least one sample in every data set, got none")
        if any(not part.weight > 0 for part in self.sets):
            raise ConfigError(f"weights: expected numbers above 0, got {[part.weight for part in self.sets]}")
        if self.global_batch_size % self.lanes:
            raise ConfigError(f"lanes: expected a divisor of {self.global_batch_size}, got {self.lanes}")

    def __reduce__(self) -> tuple[type["Plan"], tuple[tuple[DataSet, ...], int, int, int, int]]:
        """What it is made of, and nothing derived: another thread may be at work with that."""
        return type(self), (self.sets, self.seed, self.global_batch_size, self.lanes, self.window_slices)

    @cached_property
    def window_steps(self) -> int:
        """Steps of a window: as many as hold `window_slices` slices, and one for each lane."""
        rows = sum(share * part.slice_rows for share, part in zip(self._shares, self.sets, strict=True))
        return max(1, round(max(self.window_slices, self.lanes) * rows / self.global_batch_size))

    def lanes_of(self, worker: int, workers: int) -> range:
        """The lanes that a worker owns. Raises ConfigError unless the number of workers divides the lanes."""
        if self.lanes % workers:
            raise ConfigError(f"workers: expected a divisor of {self.lanes} lanes, got {workers}")
        share = self.lanes // workers
        return range(worker * share, (worker + 1) * share)

    def positions(self, steps: range, worker: int = 0, workers: int = 1) -> np.ndarray:
        """(len(steps), B / workers) int64: the positions a worker sees at each step, in order."""
        turns = np.arange(self.global_batch_size // self.lanes, dtype=np.int64) * self.lanes
        owned = np.asarray(self.lanes_of(worker, workers), np.int64)
        within = (turns[:, None] + owned[None, :]).ravel()
        return np.asarray(steps, np.int64)[:, None] * self.global_batch_size + within[None, :]

    def windows(self, steps: range, at_least: int = 1) -> Iterator[range]:
        """`steps` cut where windows end, into runs of whole windows of `at_least` steps: what is read at one go."""
        width = self.window_steps * -(-at_least // self.window_steps)
        start = steps.start
        while start < steps.stop:
            stop = min((start // width + 1) * width, steps.stop)
            yield range(start, stop)
            start = stop

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shard number (through all data sets) and row in it at each position, int64 and shaped like `positions`."""
        flat = np.asarray(positions, np.int64).ravel()
        lanes, turns = flat % self.lanes, flat // self.lanes
        windows = turns // self._window_turns
        part, place = np.empty_like(flat), np.empty_like(flat)
        # One pass over all positions for each lane and window would be quadratic: they are sorted and cut instead.
        order = np.lexsort((windows, lanes))
        changes = np.flatnonzero(np.diff(lanes[order]) | np.diff(windows[order])) + 1
        for here in np.split(order, changes) if len(order) else ():
            lane, window = int(lanes[here[0]]), int(windows[here[0]])
            offsets = turns[here] - window * self._window_turns
            kinds, drawn = self._window(lane, window)
            part[here], place[here] = kinds[offsets], drawn[offsets] * self.lanes + lane
        shards, rows = np.empty_like(flat), np.empty_like(flat)
        for number, data_set in enumerate(self.sets):
            mine = np.flatnonzero(part == number) if len(self.sets) > 1 else slice(None)
            found, rows[mine] = data_set.locate(place[mine], self.lanes, self._key(number))
            shards[mine] = found + self._first_shards[number]
        return shards.reshape(np.shape(positions)), rows.reshape(np.shape(positions))

    def substitute(self, position: int, attempt: int) -> tuple[int, int]:
        """Shard and row of a sample to take instead of an unreadable one: as random, and as fixed, as the order."""
        shards, _ = self.locate(np.array([position]))
        number = int(np.searchsorted(self._first_shards, shards[0], side="right")) - 1
        data_set = self.sets[number]
        row = mix(mix(self._key(number) ^ 1) + mix(position) + attempt) % data_set.size
        found, rows = data_set.shard_of(np.array([row]))
        return int(found[0]) + int(self._first_shards[number]), int(rows[0])

    @cached_property
    def _shares(self) -> tuple[float, ...]:
        total = sum(part.weight for part in self.sets)
        return tuple(part.weight / total for part in self.sets)

    @cached_property
    def _first_shards(self) -> np.ndarray:
        return np.cumsum([0, *(len(part.counts) for part in self.sets[:-1])])

    @cached_property
    def _window_turns(self) -> int:
        return self.window_steps * (self.global_batch_size // self.lanes)

    def _key(self, number: int) -> int:
        return mix(mix(self.seed) + number)

    def _window(self, lane: int, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each turn of a lane's window: which data set it is of, and which of that set's turns in this lane."""
        width = self._window_turns
        if len(self.sets) == 1:
            kinds = np.zeros(width, np.int64)
        else:
            # Shares are rounded over the whole stream, not window by window: in the long run they are exact.
            bounds = np.cumsum([0.0, *self._shares])[:, None] * (np.array([window, window + 1]) * width)[None, :]
            bounds = np.floor(bounds + 1e-9).astype(np.int64)
            bounds[-1] = np.array([window, window + 1]) * width
            counts = np.diff(bounds, axis=0)  # of each set before the window, and before its end
            kinds = np.repeat(np.arange(len(self.sets)), counts[:, 1] - counts[:, 0])
            kinds = kinds[self._random(lane, window, len(self.sets)).permutation(width)]
        turns = np.empty(width, np.int64)
        for number, data_set in enumerate(self.sets):
            mine = np.flatnonzero(kinds == number)
            first = window * width if len(self.sets) == 1 else int(counts[number, 0])
            shuffle = self._random(lane, window, number)
            for start, stop in data_set.epochs(first, first + len(mine), lane, self.lanes):
                turns[mine[start - first : stop - first]] = start + shuffle.permutation(stop - start)
        return kinds, turns

    def _random(self, lane: int, window: int, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=self._key(number), counter=(0, 0, lane, window)))
