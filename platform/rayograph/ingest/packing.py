"""Packing: which entries make which shard, and how one shard is made. Pure but for the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rayograph.config import Pack
from rayograph.errors import DataError
from rayograph.ingest.sources import Entry, SourceReader
from rayograph.runs.artifact import Artifact
from rayograph.shards.images import to_png, to_square
from rayograph.shards.index import ShardIndex
from rayograph.shards.sample import Sample, key_fraction
from rayograph.shards.store import find_index, put_shard, shard_name

TRAIN, HELD_OUT = "train", "held_out"


@dataclass(frozen=True)
class ShardTask:
    """One shard to make."""

    name: str
    split: str
    entries: tuple[Entry, ...]


def plan_shards(entries: Sequence[Entry], declared: Pack) -> list[ShardTask]:
    """Splits and orders entries by their keys' hashes alone: no state, and classes well mixed.

    Raises DataError if a key stands twice, or a split would be empty.
    """
    places: dict[str, str] = {}
    for entry in entries:
        if entry.key in places:
            other = places[entry.key]
            raise DataError(f"{entry.place}: expected keys that differ, got {entry.key!r}, as {other} has it")
        places[entry.key] = entry.place
    ordered = sorted(entries, key=lambda entry: key_fraction(entry.key))
    held_out = sum(key_fraction(entry.key) < declared.held_out_fraction for entry in ordered)
    tasks = []
    for split, chosen in ((TRAIN, ordered[held_out:]), (HELD_OUT, ordered[:held_out])):
        if not chosen:
            raise DataError(
                f"pack: expected images in the {split} split, got none of {len(entries)} (held_out_fraction)"
            )
        for number, start in enumerate(range(0, len(chosen), declared.samples_per_shard)):
            part = tuple(chosen[start : start + declared.samples_per_shard])
            tasks.append(ShardTask(shard_name(split, number), split, part))
    return tasks


def pack_shard(artifact: Artifact, task: ShardTask, source: SourceReader, declared: Pack) -> ShardIndex:
    """Makes one shard, or finds it made. Rejected images are left out, and named in the index's facts."""
    found = find_index(artifact, task.name)
    if found is not None:
        return found
    samples: list[Sample] = []
    rejected: list[dict[str, Any]] = []
    for entry in task.entries:
        try:
            members = {"png": to_png(to_square(source.image(entry), declared.image_size))}
        except DataError as error:
            rejected.append({"key": entry.key, "reason": str(error)})
            if len(rejected) > declared.bad_sample_limit:
                raise
            continue
        if entry.label is not None:
            members["cls"] = str(entry.label).encode()
        samples.append(Sample(entry.key, members))
    if not samples:
        raise DataError(
            f"{task.name}: every one of its {len(rejected)} images was rejected; first: {rejected[0]['reason']}"
        )
    return put_shard(artifact, task.name, samples, {"rejected": rejected})
