"""A local folder that notes what is read from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rayograph.storage.local import LocalFolder


@dataclass(frozen=True)
class WatchedFolder(LocalFolder):
    """`reads` are keys read whole; `ranges` are the (start, length) of every range asked for."""

    reads: list[str] = field(default_factory=list, compare=False)
    ranges: list[tuple[int, int]] = field(default_factory=list, compare=False)

    def read(self, key: str) -> bytes:
        self.reads.append(key)
        return super().read(key)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.ranges.extend(ranges)
        return super().read_ranges(key, ranges)
