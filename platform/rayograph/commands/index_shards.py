"""`rayograph index`: a folder of shards that others made becomes an artifact, as if `pack` had made it.

Each tar gets a sidecar (shards/scan.py), by Ray Data tasks, one shard each; then a manifest makes them count. The tars
stay where and as they are; those of a place that one may only read get sidecars and manifest elsewhere.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial

from rayograph.config import Scale
from rayograph.config.stage_base import ArtifactType
from rayograph.errors import ConfigError, DataError, StorageError
from rayograph.ingest.indexing import Folder, IndexedShard, Shard, index_shard
from rayograph.json_types import Json
from rayograph.pipeline.ray_cluster import connect
from rayograph.ray_compat import inside_submitted_job
from rayograph.runs.artifact import MANIFEST, Artifact
from rayograph.runs.digests import digest_of
from rayograph.runs.environment import machine, versions
from rayograph.runs.manifest import HELD_OUT, TRAIN, FileRecord, Manifest, ShardRecord
from rayograph.runs.terminal.progress import Progress
from rayograph.shards.classes import combined, from_fact
from rayograph.shards.committed import INDEXED, TAR, Shards
from rayograph.shards.ignored import is_ignored
from rayograph.shards.scan import CLASSES, PASSED_OVER, REJECTED
from rayograph.shards.spot_check import still_holds

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")

AT_ONCE = 16
"""Shards that are compared with their sidecars side by side: an object store answers late but to many at once."""


def index_folder(
    uri: str, scale: Scale, *, held_out: str | None, bad_sample_limit: int, again: bool, to: str | None = None
) -> Manifest:
    """Indexes every tar below `uri` and commits; finds it committed, unless `again`.

    Sidecars and manifest go beside the tars, or below `to`. Shards whose path (or, for a pattern without '/', whose
    name) matches `held_out` are the held-out split; None is what the manifest was made with, or no such split. A shard
    whose sidecar still holds (shards/spot_check.py) is not read again. Raises DataError for a shard that cannot be
    read, for more rejected samples than `bad_sample_limit`, and for shards that are not the committed ones.
    """
    started = time.monotonic()
    for place in filter(None, (uri, to)):
        if inside_submitted_job() and "://" not in place and not place.startswith(("/", "~")):
            raise StorageError(f"expected an absolute path or a URI inside a submitted job, got {place!r}")
    folder = Folder.open(uri, to, scale)
    before = folder.artifact.manifest()
    if before is not None:
        _check_indexed(folder, before)
    pattern = (str(before.facts.get("held_out", "")) if before is not None else "") if held_out is None else held_out
    shards, ignored = _shards_below(folder.tars, pattern)
    if before is not None and not again:
        _check_same(folder.artifact, before, shards)
        _check_contents(folder, before, shards, scale)
        return before
    folder.artifact.store.check_access()
    connect(scale)
    found = _index_all(folder, shards, scale, bad_sample_limit, again)
    manifest = _manifest(folder, shards, found, pattern, ignored, round(time.monotonic() - started, 3))
    if before is None:
        return folder.artifact.commit(manifest)
    folder.artifact.write(MANIFEST, manifest.model_dump_json(indent=1).encode())
    return manifest


def summary(artifact_uri: str, manifest: Manifest) -> list[str]:
    """What the command prints: how much there is, what was left out or passed over, and where."""
    size = sum(file.bytes for file in manifest.files if file.path.endswith(TAR))
    facts = manifest.facts
    lines = [f"{len(manifest.shards):,} shards, {manifest.samples:,} samples, {size:,} bytes"]
    if rejected := facts["rejected"]:
        lines.append(f"{len(rejected):,} samples rejected, named in {MANIFEST}; the first: {rejected[0]['reason']}")
    if facts.get("classes") == "name":
        names = facts["class_names"]
        lines.append(f"{len(names):,} classes by name: {', '.join(names[:8])}{', …' * (len(names) > 8)}")
    if unlabelled := facts.get("unlabelled"):
        lines.append(f"no classes: {unlabelled:,} of {manifest.samples:,} samples have none")
    if passed := facts.get("passed_over"):
        lines.append(f"passed over: {', '.join(f'{kind} {count:,}' for kind, count in passed.items())}")
    return [*lines, artifact_uri]


def _shards_below(tars: Artifact, pattern: str) -> tuple[list[Shard], int]:
    """Every tar, by name, and how many others are hidden.

    Raises DataError for none, ConfigError where `pattern` matches none or all.
    """
    sizes = {info.key: info.size for info in tars.store.list()}
    tar_names = [name for name in sizes if name.endswith(TAR)]

    def split(name: str) -> str:
        matched = fnmatchcase(name if "/" in pattern else name.rpartition("/")[2], pattern)
        return HELD_OUT if matched else TRAIN

    shards = [
        Shard(name, size, split(name)) for name, size in sizes.items() if name.endswith(TAR) and not is_ignored(name)
    ]
    if not shards:
        packed = sum(name.endswith(_COMPRESSED) for name in sizes)
        hint = f" but {packed:,} compressed ones: single samples cannot be read from them" if packed else ""
        raise DataError(f"{tars.uri}: expected shards (*{TAR}), found none{hint}")
    matched = sum(shard.split == HELD_OUT for shard in shards)
    if pattern and matched in (0, len(shards)):
        raise ConfigError(f"--held-out {pattern}: expected some of {len(shards):,} shards to match, got {matched:,}")
    return shards, len(tar_names) - len(shards)


def _check_indexed(folder: Folder, before: Manifest) -> None:
    """Raises DataError for a manifest that is not of these shards' index."""
    if before.stage != INDEXED:
        raise DataError(
            f"{folder.artifact.uri}: expected a folder of shards, found {before.kind} of the job {before.job}"
        )
    if before.base_uri != folder.base_uri:
        there, here = (uri or "beside it" for uri in (before.base_uri, folder.base_uri))
        raise DataError(f"{folder.artifact.uri}: expected an index of shards {here}, found one of shards {there}")


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


def _check_contents(folder: Folder, manifest: Manifest, shards: Sequence[Shard], scale: Scale) -> None:
    """Raises DataError, naming the first, for an index that is not the manifest's, or a tar that is not the index's."""
    listed = {shard.path for shard in manifest.shards}
    committed = Shards.of(folder.artifact, manifest, manifest.shards, scale.access)

    def changed(shard: Shard) -> bool:
        return not still_holds(folder.tars, shard.name, committed.index(shard.name), shard.size)

    mine = [shard for shard in shards if shard.name in listed]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for shard, differs in zip(mine, pool.map(changed, mine), strict=True):
            if differs:
                raise DataError(
                    f"{folder.tars.store.uri_of(folder.tars.key(shard.name))}: expected the shard that was indexed at "
                    f"{manifest.created}, got another of the same size: --again makes the manifest anew"
                )


def _index_all(folder: Folder, shards: Sequence[Shard], scale: Scale, limit: int, again: bool) -> list[IndexedShard]:
    """What `index_shard` tells of each shard."""
    from rayograph.ingest.streams import each

    found: list[IndexedShard] = []
    rejected: list[dict[str, str]] = []
    with Progress(INDEXED, "shards", len(shards), at_once=scale.ingest.tasks) as progress:
        for data in each(shards, partial(index_shard, folder, again), scale.ingest):
            found.append(json.loads(data))
            rejected += found[-1]["rejected"]
            if len(rejected) > limit:
                raise DataError(
                    f"{rejected[0]['reason']} ({len(rejected):,} samples rejected so far, --bad-sample-limit {limit})"
                )
            progress.advance_to(len(found))
    return found


def _manifest(
    folder: Folder, shards: Sequence[Shard], found: Sequence[IndexedShard], held_out: str, hidden: int, seconds: float
) -> Manifest:
    """Shards without a sample are among the files, but no shards to draw from. Raises DataError if no other is left."""
    records = [
        ShardRecord(path=shard.name, split=shard.split, samples=told["samples"])
        for shard, told in zip(shards, found, strict=True)
        if told["samples"]
    ]
    for split in {shard.split for shard in shards}:
        if not any(record.split == split for record in records):
            raise DataError(f"{folder.tars.uri}: expected samples in the {split} shards, got none")
    files = [FileRecord.model_validate(file) for told in found for file in told["files"]]
    contents = [(s.name, s.split, told["files"][0]["sha256"]) for s, told in zip(shards, found, strict=True)]
    passed_over = sum((Counter(told["passed_over"]) for told in found), Counter({"hidden tars": hidden}))
    return Manifest(
        job=folder.tars.uri.rstrip("/").rpartition("/")[2],
        stage=INDEXED,
        kind="pack",
        type=ArtifactType.IMAGES,
        key=digest_of(contents)[:16],
        seed=0,
        config={},
        scale={},
        parents=[],
        files=files,
        base_uri=folder.base_uri,
        shards=records,
        facts={
            **_class_facts(folder, shards, found),
            "image_size": None,
            "resize": "none",
            "held_out": held_out,
            REJECTED: [row for told in found for row in told["rejected"]],
            **({PASSED_OVER: dict(sorted((+passed_over).items()))} if +passed_over else {}),
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        machine=machine(),
        versions=versions(),
    )


def _class_facts(folder: Folder, shards: Sequence[Shard], found: Sequence[IndexedShard]) -> dict[str, Json]:
    """The classes' names; where members hold no numbers, what they hold, and how many samples have none at all."""
    parts = []
    for shard, told in zip(shards, found, strict=True):
        classes = from_fact(told["classes"])
        if told["samples"] and classes is not None:
            parts.append((folder.tars.store.uri_of(folder.tars.key(shard.name)), classes))
    names, held = combined(parts)
    labelled = any(classes.largest is not None or classes.names != [] for _, classes in parts)
    facts: dict[str, Json] = {"class_names": names}
    if held != "number" and labelled:
        facts |= {CLASSES: held, "unlabelled": sum(classes.missing for _, classes in parts)}
    return facts
