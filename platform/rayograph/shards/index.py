"""The sidecar index of a shard: where every member lies, so that any sample is one range read away.

Columns rather than rows: `members["png"]` is [offsets, sizes], each as long as `keys`.
"""

import builtins
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rayograph.errors import DataError

SUFFIX = ".index.json"


@dataclass(frozen=True)
class ShardIndex:
    """`size` (bytes) and `sha256` are the shard's. `facts` is what its writer found out (sums, rejects)."""

    size: int
    sha256: str
    keys: list[str]
    members: dict[str, tuple[np.ndarray, np.ndarray]]
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def to_json(self) -> builtins.bytes:
        """The same bytes for the same index."""
        members = {ext: [column.tolist() for column in columns] for ext, columns in sorted(self.members.items())}
        return json.dumps(
            {
                "format": 1,
                "bytes": self.size,
                "sha256": self.sha256,
                "keys": self.keys,
                "members": members,
                "facts": self.facts,
            },
            separators=(",", ":"),
        ).encode()

    @staticmethod
    def from_json(data: builtins.bytes, uri: str) -> "ShardIndex":
        """Raises DataError naming `uri` for anything but an index of format 1."""
        try:
            fields = json.loads(data)
            if fields["format"] != 1:
                raise DataError(f"{uri}: expected an index of format 1, got {fields['format']!r}")
            members = {
                ext: (np.asarray(offsets, np.int64), np.asarray(sizes, np.int64))
                for ext, (offsets, sizes) in fields["members"].items()
            }
            keys = fields["keys"]
            if any(column.shape != (len(keys),) for columns in members.values() for column in columns):
                raise DataError(f"{uri}: expected an offset and a size of every member for each of {len(keys)} keys")
            return ShardIndex(fields["bytes"], fields["sha256"], keys, members, fields["facts"])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DataError(f"{uri}: not a shard's index: {type(error).__name__}: {error}") from error


def index_name(shard_name: str) -> str:
    """shards/train-00000.tar → shards/train-00000.index.json"""
    return shard_name.removesuffix(".tar") + SUFFIX
