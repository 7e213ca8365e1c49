"""Shards inside an artifact: put once, read by sample."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rayograph.errors import MissingObjectError
from rayograph.json_types import Json
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import FileRecord, ShardRecord
from rayograph.shards.rows import Rows
from rayograph.shards.sample import Sample
from rayograph.shards.scan import scan_shard
from rayograph.shards.shard_index import ShardIndex, index_name
from rayograph.shards.tar import write_shard

GAP_BYTES = 64 * 1024
"""Two members nearer than this are read in one range: a skipped gap costs less than another request."""


def shard_name(split: str, number: int) -> str:
    return f"shards/{split}-{number:06d}.tar"


def put_shard(
    artifact: Artifact, name: str, samples: Sequence[Sample], facts: dict[str, Json] | None = None
) -> ShardIndex:
    """Writes a shard, then its index, whose presence says that the shard is whole. Writing twice changes nothing.

    The first shard stands where another comes with other bytes (rounding, a signature's time), and so does its index,
    which is the one that is returned.
    """
    data, index = write_shard(samples, facts)
    if not artifact.store.put_if_absent(artifact.key(name), data):
        there = scan_shard(artifact.store, artifact.key(name))
        if there.sha256 != index.sha256:
            index = replace(there, facts=facts or {})
    if artifact.store.put_if_absent(artifact.key(index_name(name)), index.to_bytes()):
        return index
    return read_index(artifact, name)


def read_index(artifact: Artifact, name: str) -> ShardIndex:
    """The index of shard `name`. Raises MissingObjectError while the shard is not whole."""
    key = artifact.key(index_name(name))
    return ShardIndex.from_bytes(artifact.store.read(key), artifact.store.uri_of(key))


def find_index(artifact: Artifact, name: str) -> ShardIndex | None:
    """The index of shard `name`, or None while the shard is not whole."""
    try:
        return read_index(artifact, name)
    except MissingObjectError:
        return None


def shard_files(artifact: Artifact, name: str, split: str, index: ShardIndex) -> tuple[list[FileRecord], ShardRecord]:
    """What the manifest says of a shard and of its index."""
    files = [
        FileRecord(path=name, bytes=index.size, sha256=index.sha256),
        artifact.record(index_name(name), index.to_bytes()),
    ]
    return files, ShardRecord(path=name, split=split, samples=len(index))


def fetch_rows(artifact: Artifact, name: str, index: ShardIndex, rows: Sequence[int] | np.ndarray | range) -> Rows:
    """The bytes of the samples at `rows`, in that order, by as few range reads as their places allow."""
    chosen = np.asarray(rows, np.int64)
    members = {extension: columns[chosen] for extension, columns in index.members.items()}
    absent = np.iinfo(np.int64).max
    starts = np.full(len(chosen), absent)
    ends = np.zeros(len(chosen), np.int64)
    for columns in members.values():
        there = columns.sizes >= 0
        starts = np.minimum(starts, np.where(there, columns.offsets, absent))
        ends = np.maximum(ends, np.where(there, columns.offsets + columns.sizes, 0))
    ranges, which = _coalesced(np.minimum(starts, ends), ends) if len(chosen) else ([], chosen)
    blobs = artifact.store.read_ranges(artifact.key(name), ranges) if ranges else []
    keys = [index.keys[row] for row in chosen.tolist()]
    return Rows(artifact.store.uri_of(artifact.key(name)), keys, members, blobs, [s for s, _ in ranges], which)


def fetch_spans(artifact: Artifact, name: str, starts: np.ndarray, ends: np.ndarray) -> list[bytes]:
    """Return the bytes [start, end) of a shard for each row, unchecked, by as few range reads as their places allow."""
    ranges, which = _coalesced(starts, ends) if len(starts) else ([], starts)
    blobs = artifact.store.read_ranges(artifact.key(name), ranges) if ranges else []
    begins = [ranges[number][0] for number in which.tolist()]
    return [
        blobs[number][start - begin : end - begin]
        for number, begin, start, end in zip(which.tolist(), begins, starts.tolist(), ends.tolist(), strict=True)
    ]


def read_samples(
    artifact: Artifact, name: str, index: ShardIndex, rows: Sequence[int] | np.ndarray | range
) -> list[Sample]:
    """The samples at `rows`, in that order. Raises DataError naming a sample whose bytes are not those once written."""
    return fetch_rows(artifact, name, index, rows).samples()


def _coalesced(starts: np.ndarray, ends: np.ndarray) -> tuple[list[tuple[int, int]], np.ndarray]:
    """(start, length) ranges that cover all spans, and for each span the range it lies in."""
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    opens = np.ones(len(order), bool)
    opens[1:] = starts[1:] > reach[:-1] + GAP_BYTES
    firsts = np.flatnonzero(opens)
    lasts = np.append(firsts[1:], len(order)) - 1
    which = np.empty(len(order), np.int64)
    which[order] = np.cumsum(opens) - 1
    return [(int(starts[f]), int(reach[last] - starts[f])) for f, last in zip(firsts, lasts, strict=True)], which
