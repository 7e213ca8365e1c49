"""The sidecar index of a shard: where every member lies, so that any sample is one range read away.

Columns rather than rows, kept as safetensors: ten thousand samples load in a millisecond, and nothing is unpickled.
"""

import json
from dataclasses import dataclass, field
from typing import TypedDict, cast

import numpy as np
from safetensors.numpy import save

from rayograph.errors import DataError
from rayograph.json_types import Json

SUFFIX = ".index"
FORMAT = 1
_COLUMNS = ("offsets", "sizes", "checksums")
_SEPARATOR = "\0"  # the one character that no name in a tar holds
_TYPES: dict[str, np.dtype[np.generic]] = {"I64": np.dtype("<i8"), "U64": np.dtype("<u8"), "U8": np.dtype("u1")}
_EXPECTED = {"offsets": "I64", "sizes": "I64", "checksums": "U64"}
_MOST_BYTES = 1 << 62


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


class _Header(TypedDict):
    """What stands beside the columns. Of a file that is read, nothing is sure until it is checked."""

    format: int
    bytes: int
    sha256: str
    samples: int
    facts: dict[str, Json]


@dataclass(frozen=True)
class ShardIndex:
    """`size` (bytes) and `sha256` are the shard's. `facts` is what its writer found out (sums, rejects)."""

    size: int
    sha256: str
    keys: list[str]
    members: dict[str, Members]
    facts: dict[str, Json] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def rejected(self) -> list[dict[str, str]]:
        """Samples that the writer left out: "key" and "reason" of each."""
        return cast(list[dict[str, str]], self.facts.get("rejected", []))

    def to_bytes(self) -> bytes:
        """The same bytes for the same index."""
        columns = {
            f"{name}.{extension}": getattr(members, name)
            for extension, members in sorted(self.members.items())
            for name in _COLUMNS
        }
        columns["keys"] = np.frombuffer(_SEPARATOR.join(self.keys).encode(), np.uint8)
        header: _Header = {
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
        """The index that these bytes hold, whose columns are views into them.

        Raises DataError naming `uri` for anything but an index of this format, before memory is set aside for it.
        """
        try:
            header, columns = _parsed(data)
            names = columns.pop("keys").tobytes().decode()
            keys = names.split(_SEPARATOR) if header["samples"] else []
            index = ShardIndex(header["bytes"], header["sha256"], keys, _members(columns), header["facts"])
            _check(index, header["samples"])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise DataError(f"{uri}: not a shard's index: {type(error).__name__}: {error}"[:400]) from error
        return index


def _parsed(data: bytes) -> tuple[_Header, dict[str, np.ndarray]]:
    """Our header, and the columns by name. Raises what a damaged file makes Python raise, ValueError above all.

    The layout is safetensors': the length of a header, the header as JSON, the columns one after another.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    if not 8 < end <= len(data):
        raise ValueError(f"expected a header of {end - 8:,} bytes, got {len(data):,} bytes in all")
    tensors = json.loads(data[8:end])
    header: _Header = json.loads(tensors.pop("__metadata__")["index"])
    if header["format"] != FORMAT:
        raise ValueError(f"expected an index of format {FORMAT}, got {header['format']!r}")
    columns = {}
    for name, tensor in tensors.items():
        (start, stop), (count,), kind = tensor["data_offsets"], tensor["shape"], _TYPES[tensor["dtype"]]
        if not 0 <= start <= stop <= len(data) - end or stop - start != count * kind.itemsize:
            raise ValueError(f"column {name!r}: expected {count!r} values of {tensor['dtype']}, got other bytes")
        columns[name] = np.frombuffer(data, kind, count, end + start)
    return header, columns


def _members(columns: dict[str, np.ndarray]) -> dict[str, Members]:
    extensions = [name.partition(".")[2] for name in columns if name.startswith("offsets.")]
    found = {extension: Members(*(columns[f"{name}.{extension}"] for name in _COLUMNS)) for extension in extensions}
    for name, column in columns.items():
        if column.dtype != _TYPES[_EXPECTED[name.partition(".")[0]]]:
            raise ValueError(f"column {name!r}: expected another type than {column.dtype}")
    return found


def _check(index: ShardIndex, samples: object) -> None:
    """Raises ValueError for what no tar could have: places past its end, above all."""
    if type(index.size) is not int or not 0 <= index.size < _MOST_BYTES:
        raise ValueError(f"expected a tar's size, got {index.size!r}")
    if not isinstance(index.sha256, str) or len(index.sha256) > 64:
        raise ValueError(f"expected a sha256, got {str(index.sha256)[:80]!r}")
    if type(samples) is not int or len(index) != samples:
        raise ValueError(f"expected {samples!r} keys, got {len(index)}")
    if not isinstance(index.facts, dict) or not all(map(_is_rejection, index.rejected)):
        raise ValueError("expected facts, and rejected samples with key and reason among them")
    for extension, members in index.members.items():
        offsets, sizes = members.offsets, members.sizes
        if len(offsets) != samples or len(sizes) != samples or len(members.checksums) != samples:
            raise ValueError(f"expected a place of .{extension} for each of {samples} samples")
        if samples and not (
            offsets.min() >= 0
            and sizes.min() >= -1
            and max(offsets.max(), sizes.max()) <= index.size
            and (offsets + sizes).max() <= index.size
        ):
            raise ValueError(f"expected every .{extension} within the tar's {index.size:,} bytes")


def _is_rejection(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("key"), str) and isinstance(row.get("reason"), str)


def index_name(shard_name: str) -> str:
    """shards/train-00000.tar → shards/train-00000.index"""
    return shard_name.removesuffix(".tar") + SUFFIX
