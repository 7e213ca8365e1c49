"""`rayograph ls`: what a store holds, and how far it is."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rayograph.config.job.training import Training
from rayograph.errors import DataError, StorageError
from rayograph.runs.artifact import MANIFEST, RESOLVED, Artifact
from rayograph.runs.job_record import read_job
from rayograph.runs.lineage import find
from rayograph.runs.manifest import Manifest, Parent
from rayograph.shards.shard_index import SUFFIX
from rayograph.storage import Access, ObjectStore

_KEYED = re.compile(r"((?:.*?/)?[0-9a-f]{16})/")
"""A key's folder is an artifact's even where neither of its files that say so is left."""


@dataclass(frozen=True)
class Listed:
    """An artifact begun or committed, and the names of its files. One that cannot be read has a `problem` instead."""

    artifact: Artifact
    names: list[str]
    manifest: Manifest | None = None
    problem: str | None = None

    @property
    def label(self) -> str:
        return self.artifact.path or self.artifact.uri


def artifacts_below(store: ObjectStore) -> Iterator[Listed]:
    """Yield every artifact begun or committed below the store's URI. One that cannot be read hides no other."""
    files: dict[str, list[str]] = {}
    keys = [info.key for info in store.list()]
    for key in keys:
        folder, _, name = key.rpartition("/")
        if name in (MANIFEST, RESOLVED):
            files.setdefault(folder, [])
        elif (keyed := _KEYED.match(key)) is not None:
            files.setdefault(keyed[1], [])
    for key in keys:
        owner = next((folder for folder in _folders_above(key) if folder in files), None)
        if owner is not None:
            files[owner].append(key.removeprefix(f"{owner}/"))
    for folder, names in sorted(files.items()):
        artifact = Artifact(store, folder)
        try:
            yield Listed(artifact, names, artifact.manifest())
        except (DataError, StorageError) as error:
            yield Listed(artifact, names, problem=str(error))


def list_artifacts(store: ObjectStore, access: Access = None) -> Iterator[str]:
    """Yield an artifact a line, committed or how far, then its parents. Raises DataError for nothing at all."""
    found = False
    for listed in artifacts_below(store):
        found = True
        manifest = listed.manifest
        if listed.problem is not None:
            yield f"{listed.label}  cannot be read: {listed.problem}"
        elif manifest is None:
            yield f"{listed.label}  {_progress(listed)}"
        else:
            size = f"{manifest.samples:,} samples in {len(manifest.shards)} shards, " if manifest.shards else ""
            yield (
                f"{listed.label}  committed {manifest.created}  {size}{manifest.total_bytes:,} bytes  "
                f"digest {manifest.digest[:12]}"
            )
            for parent in manifest.parents:
                yield f"    {parent.input:12} ← {_place(listed.artifact, parent, access)}  digest {parent.digest[:12]}"
    if not found:
        raise DataError(f"{store.uri}: expected artifacts, found none")


def _place(child: Artifact, parent: Parent, access: Access) -> str:
    """Where a parent lies now; what the manifest says, where that is no place."""
    try:
        return find(child, parent.uri, parent.digest, access).uri
    except (DataError, StorageError):
        return parent.uri


def _folders_above(key: str) -> Iterator[str]:
    """a/b/c → a/b, a, and the empty one."""
    while key:
        key = key.rpartition("/")[0]
        yield key


def _progress(listed: Listed) -> str:
    try:
        stage = read_job(listed.artifact).declared
    except (DataError, StorageError) as error:
        return f"cannot be read: {error}"
    if isinstance(stage, Training):
        commits = [name.split("/")[1] for name in listed.names if name.endswith("/checkpoint.json")]
        done = max((int(name) for name in commits if name.isdecimal()), default=0)
        return f"in progress: checkpoint at {done:,} of {stage.total_images:,} images"
    return f"in progress: {sum(name.endswith(SUFFIX) for name in listed.names)} shards"
