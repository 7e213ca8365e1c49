"""The sidecar index of a shard: where every member lies, so that any sample is one range read away.

Columns rather than rows, kept as safetensors: ten thousand samples load in a millisecond, and nothing is unpickled.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rayograph.errors import DataError

SUFFIX = ".index"
FORMAT = 1
_COLUMNS = ("offsets", "sizes", "checksums")
_SEPARATOR = "\0"  # the one character that no name in a tar holds


@dataclass(frozen=True)
class Members:
    """All members of one extension: a row a sample. A sample that has none has size -1.

    offsets, sizes (n,) int64, bytes; checksums (n,) uint64, XXH3 of the contents.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    checksums: np.ndarray

    @staticmethod
    def of(rows: list[tuple[int, int, int]]) -> "Members":
        """From (offset, size, checksum) of each sample."""
        offsets, sizes, checksums = zip(*rows, strict=True) if rows else ((), (), ())
        return Members(np.array(offsets, np.int64), np.array(sizes, np.int64), np.array(checksums, np.uint64))

    def __getitem__(self, rows: np.ndarray) -> "Members":
        return Members(self.offsets[rows], self.sizes[rows], self.checksums[rows])

    @property
    def complete(self) -> bool:
        """Whether every sample has one."""
        return bool((self.sizes >= 0).all())


@dataclass(frozen=True)
class ShardIndex:
    """`size` (bytes) and `sha256` are the shard's. `facts` is what its writer found out (sums, rejects)."""

    size: int
    sha256: str
    keys: list[str]
    members: dict[str, Members]
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def to_bytes(self) -> bytes:
        """The same bytes for the same index."""
        columns = {
            f"{name}.{extension}": getattr(members, name)
            for extension, members in sorted(self.members.items())
            for name in _COLUMNS
        }
        columns["keys"] = np.frombuffer(_SEPARATOR.join(self.keys).encode(), np.uint8)
        header = {
            "format": FORMAT,
            "bytes": self.size,
            "sha256": self.sha256,
            "samples": len(self),
            "facts": self.facts,
        }
        # One entry: safetensors writes several in no fixed order.
        return save(columns, {"index": json.dumps(header, separators=(",", ":"))})

    @staticmethod
    def from_bytes(data: bytes, uri: str) -> "ShardIndex":
        """Raises DataError naming `uri` for anything but an index of this format."""
        try:
            end = 8 + int.from_bytes(data[:8], "little")
            header = json.loads(json.loads(data[8:end])["__metadata__"]["index"])
            if header["format"] != FORMAT:
                raise DataError(f"{uri}: expected an index of format {FORMAT}, got {header['format']!r}")
            columns = load(data)
            keys = columns["keys"].tobytes().decode().split(_SEPARATOR) if header["samples"] else []
            extensions = [name.partition(".")[2] for name in columns if name.startswith("offsets.")]
            members = {ext: Members(*(columns[f"{name}.{ext}"] for name in _COLUMNS)) for ext in extensions}
            if len(keys) != header["samples"] or any(
                getattr(member, name).shape != (len(keys),) for member in members.values() for name in _COLUMNS
            ):
                raise DataError(f"{uri}: expected a place of every member for each of {header['samples']} samples")
            return ShardIndex(header["bytes"], header["sha256"], keys, members, header["facts"])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, SafetensorError) as error:
            raise DataError(f"{uri}: not a shard's index: {type(error).__name__}: {error}") from error


def index_name(shard_name: str) -> str:
    """shards/train-00000.tar → shards/train-00000.index"""
    return shard_name.removesuffix(".tar") + SUFFIX
