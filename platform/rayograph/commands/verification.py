"""`rayograph verify`: whether what a store holds is what was committed, files, parents and indices.

Files of an artifact that no manifest lists are named, since nothing reads them; those that a stage keeps beside its
manifest, `BESIDE`, are not.
"""

from collections.abc import Iterator

import numpy as np

from rayograph.commands.artifact_listing import Listed, artifacts_below
from rayograph.errors import DataError, StorageError
from rayograph.runs.artifact import MANIFEST, METRICS, RESOLVED, Artifact
from rayograph.runs.lineage import find, tars_of
from rayograph.runs.manifest import Manifest
from rayograph.shards.committed import INDEXED
from rayograph.shards.scan import scan_shard
from rayograph.shards.shard_index import ShardIndex
from rayograph.shards.store import read_index
from rayograph.storage import Access, ObjectStore

BESIDE = (
    MANIFEST, RESOLVED, METRICS, "bad_samples.txt", "checkpoints/", "samples/", "previews/", "packed/", "request/",
    "state.json", "control.json", "submitted.json", "dead/",
)  # fmt: skip
"""The job's file; a training's checkpoints, log of samples, pictures and figures; what was packed so far; what a
generation was asked for, how far it is and what is wished of it."""
MODEL = "model/"
NAMED = 5
"""Of files that nobody lists; the others are counted."""


def verify(store: ObjectStore, access: Access = None, deep: bool = False) -> Iterator[str]:
    """Yield a line for each committed artifact below that is whole, then one for files that nobody lists.

    With `deep` every tar is read through, and what its index says of it compared. Raises DataError with every problem.
    """
    problems: list[str] = []
    strays: list[str] = []
    found = False
    for listed in artifacts_below(store):
        artifact, manifest = listed.artifact, listed.manifest
        if listed.problem is not None:
            problems.append(listed.problem)
        if manifest is None:
            if RESOLVED not in listed.names and MANIFEST not in listed.names:
                strays += map(artifact.key, listed.names)
            continue
        found = True
        wrong = list(_problems(listed, manifest, access, deep))
        problems += wrong
        strays += [artifact.key(name) for name in _unlisted(listed, manifest) if not name.startswith(MODEL)]
        if not wrong:
            yield (
                f"{listed.label}  whole: {len(manifest.files)} files, {manifest.total_bytes:,} bytes, "
                f"{manifest.samples:,} samples"
            )
    if not found and not problems:
        raise DataError(f"{store.uri}: expected a committed artifact, found none")
    if strays:
        more = f" and {len(strays) - NAMED:,} more" if len(strays) > NAMED else ""
        yield f"{store.uri}  not listed by any manifest: {', '.join(strays[:NAMED])}{more}"
    if problems:
        raise DataError("; ".join(problems))


def _problems(listed: Listed, manifest: Manifest, access: Access, deep: bool) -> Iterator[str]:
    artifact = listed.artifact
    try:
        yield from artifact.problems(manifest, tars_of(artifact, manifest, access))
        for name in _unlisted(listed, manifest):
            if name.startswith(MODEL):  # a model is loaded from its whole folder
                yield f"{artifact.store.uri_of(artifact.key(name))}: not among the files that {MANIFEST} lists"
        yield from _parents(artifact, manifest, access)
        if deep:
            yield from _indices(artifact, manifest, access)
    except (DataError, StorageError) as error:
        yield str(error)


def _unlisted(listed: Listed, manifest: Manifest) -> list[str]:
    if manifest.stage == INDEXED:  # a folder of somebody else's
        return []
    known = {file.path for file in manifest.files}
    return [name for name in listed.names if name not in known and not name.startswith(BESIDE)]


def _parents(artifact: Artifact, manifest: Manifest, access: Access) -> Iterator[str]:
    """What became of the artifacts that this one was made from."""
    for parent in manifest.parents:
        said = f"{artifact.uri}: {parent.input} was made from {parent.uri} of digest {parent.digest[:12]}"
        try:
            place = find(artifact, parent.uri, parent.digest, access)
            there = place.manifest()
        except (DataError, StorageError) as error:
            yield f"{said}, which cannot be read: {error}"
            continue
        if there is None:
            yield f"{said}, which is missing"
        elif there.digest != parent.digest:
            yield f"{said}, {place.uri} is now {there.digest[:12]}"


def _indices(artifact: Artifact, manifest: Manifest, access: Access) -> Iterator[str]:
    """What an index says otherwise than its tar."""
    tars = tars_of(artifact, manifest, access)
    for shard in manifest.shards:
        where = tars.store.uri_of(tars.key(shard.path))
        try:
            said = read_index(artifact, shard.path)
            held = scan_shard(tars.store, tars.key(shard.path))
        except (DataError, StorageError) as error:
            yield str(error)
            continue
        if (said.size, said.sha256) != (held.size, held.sha256):
            yield f"{where}: its index is of another tar, of {said.size:,} bytes and sha256 {said.sha256[:12]}"
        elif len(said) != shard.samples:
            yield f"{where}: expected {shard.samples:,} samples, as the manifest says, its index has {len(said):,}"
        else:
            yield from _misplaced(where, said, held, partly=manifest.stage == INDEXED or manifest.base_uri is not None)


def _misplaced(where: str, said: ShardIndex, held: ShardIndex, partly: bool) -> Iterator[str]:
    """The first sample that lies elsewhere in the tar than its index says; `partly` lets an index leave samples out."""
    rows = {key: row for row, key in enumerate(held.keys)}
    absent = next((key for key in said.keys if key not in rows), None)
    if absent is not None:
        yield f"{where}: its index names sample {absent!r}, which it does not hold"
        return
    if not partly and len(held) != len(said):
        unnamed = next(key for key in held.keys if key not in set(said.keys))
        yield f"{where}: holds sample {unnamed!r}, which its index does not name"
        return
    order = np.array([rows[key] for key in said.keys], np.int64)
    for extension, members in said.members.items():
        there = held.members.get(extension)
        if there is None:
            yield f"{where}: its index names .{extension} members, which it does not hold"
            return
        places, found = (np.stack([m.offsets, m.sizes, m.checksums.view(np.int64)]) for m in (members, there[order]))
        wrong = np.flatnonzero((places != found).any(axis=0) & (members.sizes >= 0))
        if len(wrong):
            yield f"{where}: sample {said.keys[wrong[0]]!r}: its index has another place or checksum of .{extension}"
            return
