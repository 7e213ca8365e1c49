"""What stands at planned positions: ranges read by the index, decoded to arrays in the plan's order. No Ray."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rayograph.errors import DataError, StorageError
from rayograph.ingest.decoders import Columns, Content
from rayograph.ingest.images.decoding import described
from rayograph.shards.committed import Shards
from rayograph.shards.order.sample_order import Plan
from rayograph.shards.rows import Rows
from rayograph.shards.sample import Sample

POSITIONS, KEYS, SUBSTITUTED = "positions", "keys", "substituted"
"""Columns of every block beside its content's own. `substituted` is empty, or what was wrong with the row's sample."""

READS_AT_ONCE = 16
"""An object store answers late but to many at once."""

SUBSTITUTES = 8
"""Samples tried in the place of an unreadable one."""


@dataclass(frozen=True)
class PlannedReader:
    """Reads any positions of a plan; `shards` are the plan's, one data set after the other."""

    shards: tuple[Shards, ...]
    plan: Plan
    content: Content

    def read(self, positions: np.ndarray) -> Columns:
        """All columns, a row for each of `positions` (n,), in that order.

        An unreadable sample is replaced by another one, which (seed, position) choose, and named. Raises DataError
        where one substitute after the other is unreadable too.
        """
        return next(self._blocks(positions, len(positions)))

    def blocks(self, steps: range, worker: int, workers: int) -> Iterator[Columns]:
        """What `read` gives for a worker's rows of `steps`, in blocks of whole steps. All bytes are fetched at once."""
        positions = self.plan.positions(steps, worker, workers)
        rows = positions.shape[1]
        width = max(1, self.content.block_rows // rows)
        yield from self._blocks(positions.ravel(), width * rows)

    def _blocks(self, positions: np.ndarray, width: int) -> Iterator[Columns]:
        groups = self._fetch(*self.plan.locate(positions))
        owner = np.empty(len(positions), np.int64)
        for number, (_, places) in enumerate(groups):
            owner[places] = number
        for start in range(0, len(positions), width):
            stop = min(start + width, len(positions))
            near = [groups[number] for number in np.unique(owner[start:stop])]
            parts = [_within(rows, places, start, stop) for rows, places in near]
            yield self._decode(positions[start:stop], parts)

    def _fetch(self, shards: np.ndarray, rows: np.ndarray) -> list[tuple[Rows, np.ndarray]]:
        """The bytes of all rows, shard by shard, and the places they belong to."""
        order = np.lexsort((rows, shards))
        cuts = np.flatnonzero(np.diff(shards[order])) + 1
        places = np.split(order, cuts)
        pool = _pool(os.getpid())
        fetched = pool.map(self._fetch_shard, [int(shards[p[0]]) for p in places], [rows[p] for p in places])
        return list(zip(fetched, places, strict=True))

    def _fetch_shard(self, shard: int, rows: np.ndarray) -> Rows:
        for shards in self.shards:
            if shard < len(shards.names):
                name = shards.names[shard]
                return shards.rows(name, shards.index(name), rows)
            shard -= len(shards.names)
        raise IndexError(shard)

    def _decode(self, positions: np.ndarray, groups: list[tuple[Rows, np.ndarray]]) -> Columns:
        keys = np.empty(len(positions), object)
        for rows, places in groups:
            keys[places] = rows.keys
        substituted = np.full(len(positions), "", object)
        try:
            columns = self.content.columns(groups)
        except Exception:  # noqa: BLE001 - whatever damaged bytes do to a decoder: one by one, then, to tell whose
            columns = None
        if columns is None:
            columns = self._one_by_one(positions, groups, keys, substituted)
        return {POSITIONS: positions, KEYS: keys, SUBSTITUTED: substituted, **columns}

    def _one_by_one(
        self, positions: np.ndarray, groups: list[tuple[Rows, np.ndarray]], keys: np.ndarray, substituted: np.ndarray
    ) -> Columns:
        decode = self.content.decoder(positions)
        columns: Columns = {}
        filled: dict[str, int] = {}
        for rows, places in groups:
            for row, place in enumerate(places.tolist()):
                try:
                    values = decode(place, rows.sample(row))
                except StorageError:
                    raise
                except Exception as error:  # noqa: BLE001 - of whatever class, it is this sample's
                    wrong = described(error, rows, row)
                    keys[place], values, substituted[place] = self._again(int(positions[place]), place, decode, wrong)
                for name, value in values.items():
                    if name not in columns:
                        columns[name] = np.empty((len(positions), *np.shape(value)), value.dtype)
                    if np.shape(value) != columns[name].shape[1:]:
                        raise DataError(
                            f"{rows.uri}: sample {keys[place]}: expected {name} of shape {columns[name].shape[1:]}, as "
                            f"others have, got {np.shape(value)}"
                        )
                    columns[name][place] = value
                    filled[name] = filled.get(name, 0) + 1
        return {name: column for name, column in columns.items() if filled[name] == len(positions)}

    def _again(
        self, position: int, place: int, decode: Callable[[int, Sample], Columns], wrong: str
    ) -> tuple[str, Columns, str]:
        """The sample at `position` read anew, as a network may have spoilt it, or one that stands in for it.

        Its key, its columns, and what is wrong with the planned one.
        """
        shards, rows = self.plan.locate(np.array([position]))
        tries = [(int(shards[0]), int(rows[0])), *(self.plan.substitute(position, n) for n in range(SUBSTITUTES))]
        for attempt, (shard, row) in enumerate(tries):
            try:
                sample = self._fetch_shard(shard, np.array([row])).sample(0)
                return sample.key, decode(place, sample), wrong if attempt else ""
            except StorageError:
                raise
            except Exception:  # noqa: BLE001 - the next one is tried
                continue
        raise DataError(f"{wrong} ({SUBSTITUTES} samples tried in its place were unreadable too)")


def _within(rows: Rows, places: np.ndarray, start: int, stop: int) -> tuple[Rows, np.ndarray]:
    """The rows whose places lie in [start, stop), and those places counted from `start`."""
    chosen = np.flatnonzero((places >= start) & (places < stop))
    if len(chosen) == len(places):
        return rows, places - start
    return rows.take(chosen), places[chosen] - start


@lru_cache(maxsize=1)
def _pool(_process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="ranges")
