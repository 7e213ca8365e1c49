"""Writing a shard: a plain tar that any WebDataset reader opens, the same bytes for the same samples."""

import io
import tarfile
from collections.abc import Iterable
from typing import Any

import numpy as np

from rayograph.errors import DataError
from rayograph.runs.digests import sha256
from rayograph.shards.index import ShardIndex
from rayograph.shards.sample import Sample


def write_shard(samples: Iterable[Sample], facts: dict[str, Any] | None = None) -> tuple[bytes, ShardIndex]:
    """The tar's bytes and its index. Every sample must have the first one's extensions.

    Headers carry no time, owner or mode of the writer, so that identical input gives identical bytes.
    """
    buffer = io.BytesIO()
    keys: list[str] = []
    places: dict[str, list[tuple[int, int]]] = {}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for sample in samples:
            if keys and set(sample.members) != set(places):
                raise DataError(f"sample {sample.key}: expected members {sorted(places)}, got {sorted(sample.members)}")
            keys.append(sample.key)
            for extension, data in sorted(sample.members.items()):
                header = tarfile.TarInfo(f"{sample.key}.{extension}")
                header.size, header.mode = len(data), 0o644
                tar.addfile(header, io.BytesIO(data))
                padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                places.setdefault(extension, []).append((tar.offset - padded, len(data)))
    data = buffer.getvalue()
    members = {
        extension: (np.array([o for o, _ in found], np.int64), np.array([s for _, s in found], np.int64))
        for extension, found in places.items()
    }
    return data, ShardIndex(len(data), sha256(data), keys, members, facts or {})
