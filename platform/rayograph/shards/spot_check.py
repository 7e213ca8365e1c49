"""Whether a tar is still what its index says, without reading all of it."""

import numpy as np

from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.shards.headers import BLOCK, header_name
from rayograph.shards.scan import split_name
from rayograph.shards.shard_index import ShardIndex
from rayograph.shards.store import fetch_rows

WHOLE_BYTES = 1 << 20
"""Tars up to this size are hashed whole."""

SAMPLES = 8
"""Of larger ones so many are looked at, from the first to the last."""


def still_holds(tars: Artifact, name: str, index: ShardIndex, size: int) -> bool:
    """Whether a tar of `size` bytes is the indexed one: by its size, then by its bytes.

    Up to `WHOLE_BYTES` nothing escapes this. Of a larger tar, names and checksums of `SAMPLES` samples are compared: a
    replaced one differs in nearly all, and where a few were changed, their checksums tell when they are read.
    """
    if index.size != size:
        return False
    if size <= WHOLE_BYTES:
        return sha256(tars.read(name)) == index.sha256
    rows = np.unique(np.linspace(0, len(index) - 1, SAMPLES).astype(np.int64)) if len(index) else np.empty(0, np.int64)
    try:
        fetch_rows(tars, name, index, rows).samples()
    except DataError:
        return False
    return all(_is_named(tars, name, index, row) for row in rows.tolist())


def _is_named(tars: Artifact, name: str, index: ShardIndex, row: int) -> bool:
    """Whether the headers in front of a sample's members are theirs. A name that a header cuts off is not compared."""
    places = [(ext, int(m.offsets[row])) for ext, m in index.members.items() if m.sizes[row] >= 0]
    if any(offset < BLOCK for _, offset in places):
        return False
    blocks = tars.store.read_ranges(tars.key(name), [(offset - BLOCK, BLOCK) for _, offset in places])
    for (extension, _), block in zip(places, blocks, strict=True):
        found = header_name(block)
        if found is not None and split_name(found) != (index.keys[row], extension):
            return False
    return True
