"""Packing: what becomes of one task of a source. Pure but for the stores it reads and writes.

A task's rows go to one shard of each split, or to several where there are many, each row by its own key's hash. What
the task did is written down once, after its shards: a task whose record is there is not run again.
"""

from collections import Counter
from dataclasses import dataclass, field

from pydantic import Field, ValidationError

from rayograph.config import Pack
from rayograph.errors import DataError, MissingObjectError, StorageError
from rayograph.ingest.members import to_sample
from rayograph.ingest.sources.naming import check_key
from rayograph.ingest.sources.source import LeftOut, Rejected, Row, Source, Task, plain, rejected
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import HELD_OUT, TRAIN, FileRecord, Record, ShardRecord
from rayograph.shards.sample import Sample, key_fraction
from rayograph.shards.store import put_shard, shard_files, shard_name

SHARD_BYTES = 256 << 20
"""A shard that grows beyond is closed early: a task holds one of each split in memory."""


class PackedTask(Record):
    """What a task did. `source` is the source's fingerprint; `members` counts samples by what they hold."""

    source: str
    task: int
    rows: int
    files: list[FileRecord]
    shards: list[ShardRecord]
    members: dict[str, int]
    classes: int
    """One more than the largest class."""
    rejected: list[dict[str, str]]
    unavailable: int
    """Images that the source itself says it never got: left out, not counted against the limit."""
    images: dict[str, int] = Field(default_factory=dict)
    """How many were converted to sRGB, composited, damaged but tolerated, the first of an animation…"""
    captions_left: int = 0
    """Further captions of images, which were not asked for."""
    left_out: dict[str, int] = Field(default_factory=dict)
    """What the source had and was not asked for, by kind, as tiles without detail."""


def task_record(number: int) -> str:
    """The name of a task's record in its artifact."""
    return f"packed/{number:06d}.json"


def pack_task(artifact: Artifact, source: Source, declared: Pack, task: Task) -> bytes:
    """Packs one task, or finds it packed; its `PackedTask` as JSON. The same input gives the same bytes everywhere.

    Raises DataError once more rows are rejected than `bad_sample_limit`, and for a source that has changed.
    """
    name = artifact.key(task_record(task.number))
    try:
        done = artifact.store.read(name)
    except MissingObjectError:
        return _pack(artifact, source, declared, task)
    uri = artifact.store.uri_of(name)
    try:
        began = PackedTask.model_validate_json(done).source
    except ValidationError as error:
        raise DataError(f"{uri}: not a record of a packed task: {error.errors()[0]['msg']}") from error
    if began != source.fingerprint:
        raise DataError(f"{uri}: the source has changed since this pack began: raise its `revision` to pack it anew")
    return done


def require_few(bad: list[dict[str, str]], limit: int) -> None:
    """Raises DataError, naming the first, for more rejected images than `bad_sample_limit` allows."""
    if len(bad) > limit:
        raise DataError(f"{bad[0]['reason']} ({len(bad)} images rejected so far, bad_sample_limit {limit})")


@dataclass
class _Split:
    """Shards of one split of one task, written as they fill."""

    artifact: Artifact
    name: str
    task: int
    most_samples: int
    files: list[FileRecord] = field(default_factory=list)
    shards: list[ShardRecord] = field(default_factory=list)
    _samples: list[Sample] = field(default_factory=list)
    _bytes: int = 0

    def add(self, sample: Sample) -> None:
        size = sum(map(len, sample.members.values()))
        if len(self._samples) == self.most_samples or (self._samples and self._bytes + size > SHARD_BYTES):
            self.close()
        self._samples.append(sample)
        self._bytes += size

    def close(self) -> None:
        """Writes what there is."""
        if not self._samples:
            return
        name = shard_name(self.name, self.task)
        if self.shards:
            name = f"{name.removesuffix('.tar')}-{len(self.shards):03d}.tar"
        index = put_shard(self.artifact, name, self._samples)
        files, shard = shard_files(self.artifact, name, self.name, index)
        self.files += files
        self.shards.append(shard)
        self._samples, self._bytes = [], 0


def _pack(artifact: Artifact, source: Source, declared: Pack, task: Task) -> bytes:
    splits = {name: _Split(artifact, name, task.number, declared.samples_per_shard) for name in (TRAIN, HELD_OUT)}
    bad: list[dict[str, str]] = []
    members: dict[str, int] = {}
    keys: set[str] = set()
    images: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    rows = classes = unavailable = captions_left = 0
    for row in source.rows(task):
        if isinstance(row, LeftOut):
            left_out[row.kind] += 1
            continue
        rows += 1
        made = row if isinstance(row, Rejected) else _sample(row, declared, keys, images)
        if isinstance(made, Rejected):
            if made.counted:
                bad.append({"key": plain(made.key), "reason": plain(made.reason)})
                require_few(bad, declared.bad_sample_limit)
            unavailable += not made.counted
            continue
        row, sample = made
        keys.add(row.key)
        for extension in sample.members:
            members[extension] = members.get(extension, 0) + 1
        captions_left += row.captions_left
        classes = max(classes, -1 if row.label is None else row.label + 1)
        own = HELD_OUT if key_fraction(row.group or row.key) < declared.held_out_fraction else TRAIN
        splits[row.split or own].add(sample)
    for split in splits.values():
        split.close()
    record = PackedTask(
        source=source.fingerprint,
        task=task.number,
        files=[file for split in splits.values() for file in split.files],
        shards=[shard for split in splits.values() for shard in split.shards],
        members=members,
        rejected=bad,
        images=dict(sorted(images.items())),
        left_out=dict(sorted(left_out.items())),
        rows=rows,
        classes=classes,
        unavailable=unavailable,
        captions_left=captions_left,
    )
    data = record.model_dump_json().encode()
    artifact.store.put_if_absent(artifact.key(task_record(task.number)), data)
    return data


def _sample(row: Row, declared: Pack, keys: set[str], images: Counter[str]) -> tuple[Row, Sample] | Rejected:
    """The row with its sample, or why it has none, whatever went wrong. Raises StorageError where a store fails."""
    try:
        if row.key in keys:
            raise DataError(f"{row.place}: expected keys that differ, got {row.key!r} a second time")
        check_key(row.key, row.place)
        row.key.encode()  # what the shard's tar cannot hold is this row's fault
        return row, to_sample(row, declared, images)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - of whatever class, it is this row's rejection
        return rejected(row.key, row.place, error)
