"""`rayograph ls` and `rayograph verify`: what a store holds, how far it is, whether it is whole."""

from collections.abc import Iterator

from rayograph.config.training import Training
from rayograph.errors import DataError, RayographError
from rayograph.runs.artifact import MANIFEST, RESOLVED, Artifact
from rayograph.runs.manifest import Manifest
from rayograph.shards.index import SUFFIX
from rayograph.stages.resolve import described_job
from rayograph.storage import ObjectStore


def artifacts_below(store: ObjectStore) -> Iterator[tuple[Artifact, Manifest | RayographError | None, list[str]]]:
    """Every artifact begun or committed below the store's URI, with its manifest and the names of its files.

    One whose manifest cannot be read comes with the reason instead, and hides no other.
    """
    files: dict[str, list[str]] = {}
    keys = [info.key for info in store.list()]
    for key in keys:
        folder, _, name = key.rpartition("/")
        if name in (MANIFEST, RESOLVED):
            files.setdefault(folder, [])
    for key in keys:
        owner = next((folder for folder in _folders_above(key) if folder in files), None)
        if owner is not None:
            files[owner].append(key.removeprefix(f"{owner}/"))
    for folder in sorted(files):
        artifact = Artifact(store, folder)
        manifest: Manifest | RayographError | None
        try:
            manifest = artifact.manifest()
        except RayographError as error:
            manifest = error
        yield artifact, manifest, files[folder]


def list_artifacts(store: ObjectStore) -> Iterator[str]:
    """An artifact a line, committed or how far, then its parents. Raises DataError for nothing at all."""
    found = False
    for artifact, manifest, names in artifacts_below(store):
        found = True
        if manifest is None:
            yield f"{artifact.path or artifact.uri}  in progress: {_progress(artifact, names)}"
            continue
        if isinstance(manifest, RayographError):
            yield f"{artifact.path or artifact.uri}  unreadable: {manifest}"
            continue
        size = f"{manifest.samples:,} samples in {len(manifest.shards)} shards, " if manifest.shards else ""
        yield (
            f"{artifact.path or artifact.uri}  committed {manifest.created}  {size}{manifest.total_bytes:,} bytes  "
            f"digest {manifest.digest[:12]}"
        )
        for parent in manifest.parents:
            yield f"    {parent.input:12} ← {parent.uri}  digest {parent.digest[:12]}"
    if not found:
        raise DataError(f"{store.uri}: expected artifacts, found none")


def verify(store: ObjectStore) -> Iterator[str]:
    """A line for each committed artifact below that is whole. Raises DataError with every problem found."""
    problems: list[str] = []
    found = False
    for artifact, manifest, _ in artifacts_below(store):
        if manifest is None:
            continue
        found = True
        if isinstance(manifest, RayographError):
            problems.append(str(manifest))
            continue
        wrong = list(artifact.problems(manifest))
        problems += wrong
        if not wrong:
            yield (
                f"{artifact.path or artifact.uri}  whole: {len(manifest.files)} files, {manifest.total_bytes:,} bytes, "
                f"{manifest.samples:,} samples"
            )
    if not found:
        raise DataError(f"{store.uri}: expected a committed artifact, found none")
    if problems:
        raise DataError("; ".join(problems))


def _folders_above(key: str) -> Iterator[str]:
    """a/b/c → a/b, a, and the empty one."""
    while key:
        key = key.rpartition("/")[0]
        yield key


def _progress(artifact: Artifact, names: list[str]) -> str:
    """How far it is; where its declaration cannot be read, that, and how many shards it has."""
    unreadable = ""
    try:
        job, name = described_job(artifact)
        stage = job.stages.get(name)
    except RayographError as error:
        stage, unreadable = None, f" ({error})"
    if isinstance(stage, Training):
        commits = [name.split("/")[1] for name in names if name.endswith("/checkpoint.json")]
        commits = [position for position in commits if position.isdecimal()]
        return f"checkpoint at {max(map(int, commits), default=0):,} of {stage.total_images:,} images"
    return f"{sum(name.endswith(SUFFIX) for name in names)} shards{unreadable}"
