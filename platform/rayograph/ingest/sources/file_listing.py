"""Sources whose images are all known by name before any work: ordered by their keys' hashes, without a state.

So classes are well mixed, and where an image goes depends on its key alone. Kept as columns and numbers: ten million
names are one Arrow array, which workers map rather than copy.

Shapes: n rows.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute

from rayograph.errors import DataError
from rayograph.ingest.sources.naming import UNCLEAN, clean_key, path_key
from rayograph.ingest.sources.source import Task, require_rows
from rayograph.runs.digests import sha256
from rayograph.runs.manifest import HELD_OUT, TRAIN
from rayograph.shards.sample import key_fraction, key_fractions

_CHUNK = 65_536


@dataclass(frozen=True)
class Keys:
    """A key a row: the one given, or else made from the path; where those would be equal, `renamed`, by row."""

    paths: pa.Array
    given: pa.Array | None
    renamed: dict[int, str]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> str:
        given = self.given[row].as_py() if self.given is not None else None
        return self._key(row, given, self.paths[row].as_py())

    def fractions(self) -> np.ndarray:
        """`key_fraction` of each, (n,) float64."""
        found = np.empty(len(self))
        for start in range(0, len(self), _CHUNK):
            plain = self._plain(slice(start, start + _CHUNK)).cast(pa.large_binary()).to_pylist()
            keys = [key or self[row].encode() for row, key in enumerate(plain, start)]
            found[start : start + len(keys)] = key_fractions(keys)
        for row in self.renamed:
            found[row] = key_fraction(self[row])
        return found

    def _plain(self, rows: slice) -> pa.Array:
        """What `path_key` and `clean_key` make of rows; nothing or none where each is asked."""
        keys = pa.compute.replace_substring_regex(self.paths[rows], r"\.[^./]*$", "")
        if self.given is not None:
            given = self.given[rows]
            keys = pa.compute.if_else(pa.compute.equal(given, "").fill_null(True), keys, given)
        for mark in UNCLEAN:
            keys = pa.compute.replace_substring(keys, mark, "_")
        return keys

    def _key(self, row: int, given: object, path: str | None) -> str:
        if given not in (None, ""):
            return clean_key(str(given))
        return self.renamed.get(row) or path_key(path or f"row-{row:06d}")


@dataclass(frozen=True)
class Listing:
    """All rows' keys, and the rows in the order of their hashes: `order` (n,) int64."""

    keys: Keys
    order: np.ndarray
    fingerprint: str
    held_out: int | None = None
    """How many are held out, where the source itself says so: the first of the order."""

    @staticmethod
    def of(
        paths: pa.Array, given: pa.Array | None, place: Callable[[int], str], held_out: np.ndarray | None = None
    ) -> "Listing":
        """`held_out` (n,) bool where the source says it, not the keys.

        Raises DataError naming both places where a given key, or a path, stands twice.
        """
        keys = Keys(paths, given, {})
        while True:
            fractions = keys.fractions()
            order = np.argsort(fractions, kind="stable")
            equal = _equal(keys, fractions, order)
            if not equal:
                if held_out is not None:
                    order = np.lexsort((fractions, ~held_out))
                found = sha256(fractions[order].tobytes())[:16]
                return Listing(keys, order, found, None if held_out is None else int(held_out.sum()))
            for rows in equal:
                _tell_apart(keys, rows, place)

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        """Ranges of the order: training rows first, and no range with rows of both splits."""
        total, held_out = len(self.order), self.held_out
        if held_out is None:
            held_out = bisect_left(range(total), held_out_fraction, key=self._fraction)
        require_rows(TRAIN, total - held_out, total)
        if held_out_fraction and self.held_out is None:
            require_rows(HELD_OUT, held_out, total)
        starts = [(start, min(start + rows, total)) for start in range(held_out, total, rows)]
        starts += [(start, min(start + rows, held_out)) for start in range(0, held_out, rows)]
        return [Task(number, 0, start, stop, stop - start) for number, (start, stop) in enumerate(starts)]

    def rows(self, task: Task) -> list[int]:
        """The rows of a task, in its order."""
        found: list[int] = self.order[task.start : task.stop].tolist()
        return found

    def split(self, task: Task) -> str | None:
        """Of a task's rows, where the source itself says it."""
        if self.held_out is None:
            return None
        return HELD_OUT if task.stop <= self.held_out else TRAIN

    def _fraction(self, number: int) -> float:
        return key_fraction(self.keys[int(self.order[number])])


def _equal(keys: Keys, fractions: np.ndarray, order: np.ndarray) -> list[list[int]]:
    """Groups of rows with one key, each in the order of the listing. Only rows of equal hashes are looked at."""
    same = np.flatnonzero(np.diff(fractions[order]) == 0)
    groups: dict[str, list[int]] = {}
    for row in np.unique(order[np.concatenate([same, same + 1])]).tolist() if len(same) else []:
        groups.setdefault(keys[row], []).append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def _tell_apart(keys: Keys, rows: list[int], place: Callable[[int], str]) -> None:
    """The first that still has its plain key keeps it; the others get their endings, and then underscores."""
    paths: dict[str, int] = {}
    for row in rows:
        path = keys.paths[row].as_py()
        given = keys.given is not None and keys.given[row].as_py() not in (None, "")
        if given or path in paths:
            other = paths.get(path, next(other for other in rows if other != row))
            first, second = sorted((row, other))
            raise DataError(f"{place(second)}: expected keys that differ, got {keys[row]!r}, as {place(first)} has it")
        paths[path] = row
    kept = next((row for row in rows if row not in keys.renamed), rows[0])
    for row in rows:
        if row != kept:
            was = keys.renamed.get(row)
            keys.renamed[row] = f"{was}_" if was else clean_key(keys.paths[row].as_py())


def unique_names(paths: list[str]) -> list[str]:
    """Names for files, all different, which begin the keys of their rows."""
    keys = Listing.of(pa.array(paths, pa.large_string()), None, partial(str.format, "{}")).keys
    return [keys[row] for row in range(len(keys))]
