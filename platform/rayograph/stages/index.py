"""`rayograph index`: a folder of shards that others made becomes an artifact, as if `pack` had made it.

Each tar gets a sidecar (shards/scan.py), by Ray Data tasks, one shard each; then a manifest makes them count. The tars
stay where and as they are.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from rayograph.config import Scale
from rayograph.errors import ConfigError, DataError, MissingObjectError, StorageError
from rayograph.runs.artifact import MANIFEST, Artifact
from rayograph.runs.digests import digest_of
from rayograph.runs.environment import machine, versions
from rayograph.runs.manifest import HELD_OUT, TRAIN, FileRecord, Manifest, ShardRecord
from rayograph.runs.progress import Progress
from rayograph.shards.index import ShardIndex, index_name
from rayograph.shards.scan import LARGEST_CLASS, scan_shard
from rayograph.shards.store import fetch_rows
from rayograph.stages.cluster import connect, inside_submitted_job
from rayograph.storage import open_store

TAR = ".tar"
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
STAGE = "index"

MOST_CLASSES = 65_536
"""Larger numbers are taken for something else's, such as identifiers, and the data for data without classes."""


@dataclass(frozen=True)
class Shard:
    """A tar below the folder; `size` in bytes."""

    name: str
    size: int
    split: str


def index_folder(uri: str, scale: Scale, *, held_out: str | None, bad_sample_limit: int, again: bool) -> Manifest:
    """Indexes every tar below `uri` and commits; finds it committed, unless `again`.

    Shards whose path (or, for a pattern without '/', whose name) matches `held_out` are the held-out split; None is
    what the manifest was made with, or no such split. A shard with a sidecar for its size is not read again. Raises
    DataError for a shard that cannot be read, for more rejected samples than `bad_sample_limit`, and for shards that
    are not the committed ones.
    """
    started = time.monotonic()
    if inside_submitted_job() and "://" not in uri and not uri.startswith(("/", "~")):
        raise StorageError(f"expected an absolute path or a URI inside a submitted job, got {uri!r}")
    artifact = Artifact(open_store(uri, scale.endpoint_url), "")
    before = artifact.manifest()
    if before is not None and before.stage != STAGE:
        raise DataError(f"{artifact.uri}: expected a folder of shards, found {before.kind} of the job {before.job}")
    pattern = (before.facts["held_out"] if before is not None else "") if held_out is None else held_out
    shards = _shards_below(artifact, pattern)
    if before is not None and not again:
        _check_same(artifact, before, shards)
        return before
    artifact.store.check_access()
    connect(scale)
    found = _index_all(artifact, shards, scale, bad_sample_limit)
    manifest = _manifest(artifact, shards, found, pattern, round(time.monotonic() - started, 3))
    if before is None:
        return artifact.commit(manifest)
    artifact.write(MANIFEST, manifest.model_dump_json(indent=1).encode())
    return manifest


def summary(artifact_uri: str, manifest: Manifest) -> list[str]:
    """What the command prints: how much there is, what was left out, and where."""
    size = sum(file.bytes for file in manifest.files if file.path.endswith(TAR))
    lines = [f"{len(manifest.shards):,} shards, {manifest.samples:,} samples, {size:,} bytes"]
    if rejected := manifest.facts["rejected"]:
        lines.append(f"{len(rejected):,} samples rejected, named in {MANIFEST}; the first: {rejected[0]['reason']}")
    return [*lines, artifact_uri]


def _shards_below(artifact: Artifact, pattern: str) -> list[Shard]:
    """Every tar, by name. Raises DataError for none, ConfigError where `pattern` matches none or all."""
    sizes = {info.key: info.size for info in artifact.store.list()}

    def split(name: str) -> str:
        matched = fnmatchcase(name if "/" in pattern else name.rpartition("/")[2], pattern)
        return HELD_OUT if matched else TRAIN

    shards = [Shard(name, size, split(name)) for name, size in sizes.items() if name.endswith(TAR)]
    if not shards:
        packed = sum(name.endswith(_COMPRESSED) for name in sizes)
        hint = f" but {packed:,} compressed ones: single samples cannot be read from them" if packed else ""
        raise DataError(f"{artifact.uri}: expected shards (*{TAR}), found none{hint}")
    matched = sum(shard.split == HELD_OUT for shard in shards)
    if pattern and matched in (0, len(shards)):
        raise ConfigError(f"--held-out {pattern}: expected some of {len(shards):,} shards to match, got {matched:,}")
    return shards


def _check_same(artifact: Artifact, manifest: Manifest, shards: Sequence[Shard]) -> None:
    """Raises DataError unless the manifest is of these shards."""
    then = {file.path: file.bytes for file in manifest.files if file.path.endswith(TAR)}
    now = {shard.name: shard.size for shard in shards}
    changes = {
        "new": sorted(now.keys() - then.keys()),
        "gone": sorted(then.keys() - now.keys()),
        "of another size": sorted(name for name in now.keys() & then.keys() if now[name] != then[name]),
    }
    told = [f"{len(names):,} {what} ({names[0]}{', …' * (len(names) > 1)})" for what, names in changes.items() if names]
    if not told:
        splits = {shard.path: shard.split for shard in manifest.shards}
        moved = [shard.name for shard in shards if splits.get(shard.name, shard.split) != shard.split]
        told = [f"{len(moved):,} in another split ({moved[0]}{', …' * (len(moved) > 1)})"] if moved else []
    if told:
        raise DataError(
            f"{artifact.uri}: expected the shards that were indexed at {manifest.created}, got {', '.join(told)}: "
            "--again makes the manifest anew"
        )


def _index_all(artifact: Artifact, shards: Sequence[Shard], scale: Scale, limit: int) -> list[dict[str, Any]]:
    """What `_index` tells of each shard."""
    from rayograph.ingest.streams import each

    found: list[dict[str, Any]] = []
    rejected: list[dict[str, str]] = []
    with Progress(STAGE, "shards", len(shards), at_once=scale.ingest.tasks) as progress:
        for data in each(shards, partial(_index, artifact), scale.ingest):
            found.append(json.loads(data))
            rejected += found[-1]["rejected"]
            if len(rejected) > limit:
                raise DataError(
                    f"{rejected[0]['reason']} ({len(rejected):,} samples rejected so far, --bad-sample-limit {limit})"
                )
            progress.advance_to(len(found))
    return found


def _index(artifact: Artifact, shard: Shard) -> bytes:
    """Makes one shard's sidecar, or finds it made; what the manifest needs of it, as JSON."""
    index, data = _sidecar(artifact, shard)
    tar = FileRecord(path=shard.name, bytes=index.size, sha256=index.sha256)
    told = {
        "files": [tar.model_dump(), artifact.record(index_name(shard.name), data).model_dump()],
        "samples": len(index),
        "rejected": index.facts.get("rejected", []),
        LARGEST_CLASS: _largest_class(artifact, shard.name, index),
    }
    return json.dumps(told).encode()


def _sidecar(artifact: Artifact, shard: Shard) -> tuple[ShardIndex, bytes]:
    store, key = artifact.store, artifact.key(index_name(shard.name))
    try:
        data = store.read(key)
    except MissingObjectError:
        index = scan_shard(store, artifact.key(shard.name))
        data = index.to_bytes()
        store.put_if_absent(key, data)
        return index, data
    index = ShardIndex.from_bytes(data, store.uri_of(key))
    if index.size != shard.size:  # the shard was replaced
        index = scan_shard(store, artifact.key(shard.name))
        data = index.to_bytes()
        store.put(key, data)
    return index, data


def _largest_class(artifact: Artifact, name: str, index: ShardIndex) -> int | None:
    """As the scan found it; from the members themselves where the sidecar is of `pack`."""
    if LARGEST_CLASS in index.facts:
        known: int | None = index.facts[LARGEST_CLASS]
        return known
    if not len(index) or "cls" not in index.members or not index.members["cls"].complete:
        return None
    classes = ShardIndex(index.size, index.sha256, index.keys, {"cls": index.members["cls"]})
    numbers = fetch_rows(artifact, name, classes, range(len(index))).numbers("cls")
    return None if numbers is None else int(numbers.max())


def _manifest(
    artifact: Artifact, shards: Sequence[Shard], found: Sequence[dict[str, Any]], held_out: str, seconds: float
) -> Manifest:
    """Shards without a sample are among the files, but no shards to draw from. Raises DataError if no other is left."""
    records = [
        ShardRecord(path=shard.name, split=shard.split, samples=told["samples"])
        for shard, told in zip(shards, found, strict=True)
        if told["samples"]
    ]
    for split in {shard.split for shard in shards}:
        if not any(record.split == split for record in records):
            raise DataError(f"{artifact.uri}: expected samples in the {split} shards, got none")
    files = [FileRecord.model_validate(file) for told in found for file in told["files"]]
    contents = [(s.name, s.split, told["files"][0]["sha256"]) for s, told in zip(shards, found, strict=True)]
    return Manifest(
        job=artifact.uri.rstrip("/").rpartition("/")[2],
        stage=STAGE,
        kind="pack",
        key=digest_of(contents)[:16],
        seed=0,
        config={},
        scale={},
        parents=[],
        files=files,
        shards=records,
        facts={
            "class_names": _class_names([told[LARGEST_CLASS] for told in found if told["samples"]]),
            "image_size": None,
            "resize": "none",
            "held_out": held_out,
            "rejected": [row for told in found for row in told["rejected"]],
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        machine=machine(),
        versions=versions(),
    )


def _class_names(largest: Sequence[int | None]) -> list[str]:
    """Every number up to the largest class; none unless every sample has one."""
    known = [number for number in largest if number is not None]
    if len(known) < len(largest) or max(known) >= MOST_CLASSES:
        return []
    return [str(number) for number in range(max(known) + 1)]
