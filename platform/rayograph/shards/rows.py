"""The bytes of some rows of a shard, as they were read: sample by sample, or a whole column at once.

Shapes: n rows, m ≥ n rows of a batch, s bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import xxhash

from rayograph.errors import DataError
from rayograph.shards.headers import printable
from rayograph.shards.sample import Sample
from rayograph.shards.shard_index import Members


@dataclass(frozen=True)
class Rows:
    """Ranges `blobs` of the shard `uri`, which begin at `starts` in it; row i lies in range `which[i]`."""

    uri: str
    keys: list[str]
    members: dict[str, Members]
    blobs: Sequence[bytes]
    starts: Sequence[int]
    which: np.ndarray
    class_numbers: Mapping[str, int] = field(default_factory=dict)
    """Where `cls` members hold names: what is read in their place."""

    def __len__(self) -> int:
        return len(self.keys)

    def has(self, extension: str) -> bool:
        """Whether every row has a member of this extension."""
        return extension in self.members and self.members[extension].complete

    def place(self, row: int) -> str:
        """Shard and key of a row, for messages."""
        return f"{self.uri}: sample {printable(self.keys[row])}"

    def sample(self, row: int) -> Sample:
        """Raises DataError naming the sample if its bytes are not the ones that were indexed."""
        found = {extension: self.member(row, extension) for extension in self.members}
        return Sample(self.keys[row], {extension: data for extension, data in found.items() if data is not None})

    def samples(self) -> list[Sample]:
        """All rows, in order; raises DataError as `sample` does."""
        return [self.sample(row) for row in range(len(self))]

    def member(self, row: int, extension: str) -> bytes | None:
        """One member's bytes, checked against the index; None where the sample has none."""
        offset, size, checksum = self._places[extension][row]
        if size < 0:
            return None
        which = self.which[row]
        start = offset - self.starts[which]
        data = self.blobs[which][start : start + size]
        if xxhash.xxh3_64_intdigest(data) != checksum:
            raise DataError(self._differs(row, extension))
        return self._numbered(row, data) if extension == "cls" and self.class_numbers else data

    def scatter(self, extension: str, out: np.ndarray, places: np.ndarray, prefix: bytes = b"") -> bool:
        """Writes what follows `prefix` in each member into rows `places` of `out` (m, s) uint8, a range at a time.

        Nothing is done member by member but the checksums. False, and nothing of use in `out`, unless all members are
        that long and begin so. Raises DataError naming a sample whose bytes are not the ones that were indexed.
        """
        columns, width = self.members[extension], len(prefix) + out.shape[1]
        if not (columns.sizes == width).all():
            return False
        for number in np.unique(self.which).tolist():
            here = np.flatnonzero(self.which == number)
            found = _table(
                np.frombuffer(self.blobs[number], np.uint8), columns.offsets[here] - self.starts[number], width
            )
            self._check(extension, here, found)
            if not (found[:, : len(prefix)] == np.frombuffer(prefix, np.uint8)).all():
                return False
            out[places[here]] = found[:, len(prefix) :]
        return True

    def numbers(self, extension: str) -> np.ndarray | None:
        """(n,) int64 of members that are all decimal digits, parsed at once; None where one is anything else."""
        if extension == "cls" and self.class_numbers:
            return None
        columns, values = self.members[extension], np.zeros(len(self), np.int64)
        for number in np.unique(self.which).tolist():
            data = np.frombuffer(self.blobs[number], np.uint8)
            for size in np.unique(columns.sizes[self.which == number]).tolist():
                here = np.flatnonzero((self.which == number) & (columns.sizes == size))
                found = _table(data, columns.offsets[here] - self.starts[number], size)
                self._check(extension, here, found)
                digits = found.astype(np.int64) - ord("0")
                if not 1 <= size <= 18 or (digits < 0).any() or (digits > 9).any():
                    return None
                values[here] = digits @ 10 ** np.arange(size - 1, -1, -1)
        return values

    def take(self, chosen: np.ndarray) -> "Rows":
        """Some of the rows, over the same bytes."""
        members = {extension: columns[chosen] for extension, columns in self.members.items()}
        keys = [self.keys[row] for row in chosen.tolist()]
        return Rows(self.uri, keys, members, self.blobs, self.starts, self.which[chosen], self.class_numbers)

    def _numbered(self, row: int, data: bytes) -> bytes:
        number = self.class_numbers.get(data.decode(errors="replace").strip())
        if number is None:
            raise DataError(f"{self.place(row)}: expected one of {len(self.class_numbers)} classes, got {data[:40]!r}")
        return str(number).encode()

    def _check(self, extension: str, rows: np.ndarray, contents: np.ndarray) -> None:
        digests = np.fromiter(map(xxhash.xxh3_64_intdigest, contents), np.uint64, len(contents))
        wrong = np.flatnonzero(digests != self.members[extension].checksums[rows])
        if len(wrong):
            raise DataError(self._differs(int(rows[wrong[0]]), extension))

    @cached_property
    def _places(self) -> dict[str, list[tuple[int, int, int]]]:
        return {
            extension: list(zip(c.offsets.tolist(), c.sizes.tolist(), c.checksums.tolist(), strict=True))
            for extension, c in self.members.items()
        }

    def _differs(self, row: int, extension: str) -> str:
        return f"{self.place(row)}: its .{extension} differs from what was indexed (checksum)"


def _table(data: np.ndarray, offsets: np.ndarray, width: int) -> np.ndarray:
    """(n, width): the `width` bytes at each offset; no copy where the offsets are evenly spaced, as in whole slices."""
    stride = int(offsets[1] - offsets[0]) if len(offsets) > 1 else width
    if stride >= width and (np.diff(offsets) == stride).all():
        return np.lib.stride_tricks.as_strided(data[offsets[0] :], (len(offsets), width), (stride, 1), writeable=False)
    return np.lib.stride_tricks.sliding_window_view(data, width)[offsets]
