"""Writing a shard by webdataset's own writer: a plain tar, the same bytes for the same samples."""

import io
import tarfile
from collections.abc import Container, Iterable

import xxhash

from rayograph.errors import DataError
from rayograph.json_types import Json
from rayograph.runs.digests import sha256
from rayograph.shards.sample import Sample
from rayograph.shards.shard_index import Members, ShardIndex

_MISSING = (0, -1, 0)


def write_shard(samples: Iterable[Sample], facts: dict[str, Json] | None = None) -> tuple[bytes, ShardIndex]:
    """Make the tar and its index. Raises DataError for a key that readers would not find again, or that comes twice.

    Headers carry no time, owner or mode of the writer, so that identical input gives identical bytes.
    """
    from webdataset.writer import TarWriter  # brings torch, which those who only read indices need not have

    buffer = io.BytesIO()
    rows: dict[str, dict[str, tuple[int, int, int]]] = {}
    with TarWriter(buffer, encoder=None, user="", group="", mode=0o644, mtime=0, keep_meta=True) as writer:
        for sample in samples:
            _check_key(sample.key, rows)
            places = rows[sample.key] = {}
            for extension, data in sorted(sample.members.items()):
                writer.write({"__key__": sample.key, extension: data})  # one by one, to learn where each one ends
                padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE  # 1100 bytes take 1536
                places[extension] = (writer.tarstream.offset - padded, len(data), xxhash.xxh3_64_intdigest(data))
    data = buffer.getvalue()
    return data, ShardIndex(len(data), sha256(data), list(rows), columns_of(rows), facts or {})


def columns_of(rows: dict[str, dict[str, tuple[int, int, int]]]) -> dict[str, Members]:
    """The index's columns from (offset, size, checksum) by key and extension."""
    extensions = sorted({extension for places in rows.values() for extension in places})
    return {e: Members.of([places.get(e, _MISSING) for places in rows.values()]) for e in extensions}


def _check_key(key: str, known: Container[str]) -> None:
    if key in known:
        raise DataError(f"sample {key}: expected keys that differ, got this one twice")
    # Readers end a key at the first dot of its last part.
    if not key or "." in key.rpartition("/")[2] or "\0" in key or ".." in key.split("/") or key.startswith("/"):
        raise DataError(f"sample {key!r}: expected a relative name without a dot in its last part")
