"""Shards inside an artifact: put once, read by sample."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rayograph.errors import MissingObjectError
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import FileRecord, ShardRecord
from rayograph.shards.index import ShardIndex, index_name
from rayograph.shards.sample import Sample
from rayograph.shards.tar import write_shard

GAP_BYTES = 64 * 1024
"""Two members nearer than this are read in one range: a skipped gap costs less than another request."""


def shard_name(split: str, number: int) -> str:
    return f"shards/{split}-{number:06d}.tar"


def put_shard(
    artifact: Artifact, name: str, samples: Sequence[Sample], facts: dict[str, Any] | None = None
) -> ShardIndex:
    """Writes a shard, then its index, whose presence says that the shard is whole. Writing twice changes nothing."""
    data, index = write_shard(samples, facts)
    artifact.store.put_if_absent(artifact.key(name), data)
    artifact.store.put_if_absent(artifact.key(index_name(name)), index.to_json())
    return index


def read_index(artifact: Artifact, name: str) -> ShardIndex:
    """The index of shard `name`. Raises MissingObjectError while the shard is not whole."""
    key = artifact.key(index_name(name))
    return ShardIndex.from_json(artifact.store.read(key), artifact.store.uri_of(key))


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
        artifact.record(index_name(name), index.to_json()),
    ]
    return files, ShardRecord(path=name, split=split, samples=len(index))


def read_samples(
    artifact: Artifact, name: str, index: ShardIndex, rows: Sequence[int] | np.ndarray | range
) -> list[Sample]:
    """The samples at `rows`, in that order, by as few range reads as their places allow."""
    rows = np.asarray(rows, np.int64)
    if not len(rows):
        return []
    columns = {extension: (offsets[rows], sizes[rows]) for extension, (offsets, sizes) in index.members.items()}
    starts = np.min([offsets for offsets, _ in columns.values()], axis=0)
    ends = np.max([offsets + sizes for offsets, sizes in columns.values()], axis=0)
    ranges, which = _coalesced(starts, ends)
    blobs = artifact.store.read_ranges(artifact.key(name), ranges)
    samples = []
    for row, position in enumerate(rows):
        start, _ = ranges[which[row]]
        blob = memoryview(blobs[which[row]])
        members = {
            extension: bytes(blob[offsets[row] - start : offsets[row] - start + sizes[row]])
            for extension, (offsets, sizes) in columns.items()
        }
        samples.append(Sample(index.keys[position], members))
    return samples


def _coalesced(starts: np.ndarray, ends: np.ndarray) -> tuple[list[tuple[int, int]], np.ndarray]:
    """(start, length) ranges that cover all spans, and for each span the range it lies in."""
    order = np.argsort(starts, kind="stable")
    reach = np.maximum.accumulate(ends[order])
    opens = np.ones(len(order), bool)
    opens[1:] = starts[order][1:] > reach[:-1] + GAP_BYTES
    group = np.cumsum(opens) - 1
    firsts = np.flatnonzero(opens)
    lasts = np.append(firsts[1:], len(order)) - 1
    ranges = [
        (int(starts[order][f]), int(reach[last] - starts[order][f])) for f, last in zip(firsts, lasts, strict=True)
    ]
    which = np.empty(len(order), np.int64)
    which[order] = group
    return ranges, which
