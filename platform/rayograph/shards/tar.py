"""Writing a shard: a plain tar that any WebDataset reader opens, the same bytes for the same samples."""

import io
import tarfile
from collections.abc import Iterable
from typing import Any

import xxhash

from rayograph.errors import DataError
from rayograph.runs.digests import sha256
from rayograph.shards.index import Members, ShardIndex
from rayograph.shards.sample import Sample

_MISSING = (0, -1, 0)


def write_shard(samples: Iterable[Sample], facts: dict[str, Any] | None = None) -> tuple[bytes, ShardIndex]:
    """The tar's bytes and its index. Raises DataError for a key that readers would not find again, or that comes twice.

    Headers carry no time, owner or mode of the writer, so that identical input gives identical bytes.
    """
    buffer = io.BytesIO()
    rows: dict[str, dict[str, tuple[int, int, int]]] = {}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for sample in samples:
            _check_key(sample.key, rows)
            places = rows[sample.key] = {}
            for extension, data in sorted(sample.members.items()):
                header = tarfile.TarInfo(f"{sample.key}.{extension}")
                header.size, header.mode = len(data), 0o644
                tar.addfile(header, io.BytesIO(data))
                padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                places[extension] = (tar.offset - padded, len(data), xxhash.xxh3_64_intdigest(data))
    data = buffer.getvalue()
    return data, ShardIndex(len(data), sha256(data), list(rows), columns_of(rows), facts or {})


def columns_of(rows: dict[str, dict[str, tuple[int, int, int]]]) -> dict[str, Members]:
    """The index's columns from (offset, size, checksum) by key and extension."""
    extensions = sorted({extension for places in rows.values() for extension in places})
    return {e: Members.of([places.get(e, _MISSING) for places in rows.values()]) for e in extensions}


def _check_key(key: str, known: dict[str, Any]) -> None:
    if key in known:
        raise DataError(f"sample {key}: expected keys that differ, got this one twice")
    # Readers end a key at the first dot of its last part.
    if not key or "." in key.rpartition("/")[2] or "\0" in key or ".." in key.split("/") or key.startswith("/"):
        raise DataError(f"sample {key!r}: expected a relative name without a dot in its last part")
