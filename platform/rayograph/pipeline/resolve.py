"""From a job to artifacts: where each stage's result will be, known before any work.

An artifact's key is a digest of all that decides its content: what was declared beyond the defaults, the declarations'
versions, the seed, and the keys of what it is made from. A changed field gives a new folder for its stage and for those
after it, and leaves the others as they are; a field that a later release adds changes none.
"""

import logging
from functools import cache

from rayograph.config import Job, Scale
from rayograph.config.keys import decisive
from rayograph.config.stage_base import ArtifactType
from rayograph.errors import DataError, StorageError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import digest_of
from rayograph.runs.lineage import place_in_store
from rayograph.runs.manifest import Manifest
from rayograph.runs.stage_context import StageContext
from rayograph.stages.stage import stage_of
from rayograph.storage import Access, ObjectStore, open_store

log = logging.getLogger(__name__)

KEY_FORMAT = 3


def resolve(job: Job, scale: Scale, store: ObjectStore) -> dict[str, StageContext]:
    """Return every stage of the job, in its order. Raises DataError for an outside artifact that does not fit."""
    resolved: dict[str, StageContext] = {}
    for name, stage in job.stages.items():
        inputs: dict[str, Artifact] = {}
        parent_keys: dict[str, str] = {}
        for field, wanted, ref in stage.references():
            if ref in resolved:
                inputs[field], parent_keys[field] = resolved[ref].artifact, resolved[ref].key
            else:
                inputs[field], parent_keys[field] = _outside(ref, wanted, f"{name}.{field}", store, scale.access)
        weights = {
            field: list(given.values()) for field in stage.inputs if isinstance(given := getattr(stage, field), dict)
        }
        seed = job.seed_of(name)
        made_of = {"format": KEY_FORMAT, **decisive(stage), "seed": seed, "inputs": parent_keys, "weights": weights}
        source = stage_of(stage).source_digest(stage, scale.access)
        if source is not None:
            made_of["source"] = source
        key = digest_of(made_of)[:16]
        artifact = Artifact(store, f"{job.name}/{name}/{key}")
        resolved[name] = StageContext(job, scale, name, seed, key, artifact, inputs, source)
    return resolved


def needed(job: Job, target: str) -> list[str]:
    """Return the target stage and all that it is made from, in the job's order."""
    wanted = {target}
    for name in reversed(job.stages):
        if name in wanted:
            stage = job.stages[name]
            wanted |= {ref for _, _, ref in stage.references()}
    return [name for name in job.stages if name in wanted]


def _outside(uri: str, wanted: ArtifactType, where: str, store: ObjectStore, access: Access) -> tuple[Artifact, str]:
    artifact, manifest = _found(uri, store, access)
    if manifest is None or manifest.type != wanted:
        found = "none" if manifest is None else f"one of {manifest.type}"
        raise DataError(f"{where}: expected a committed artifact of {wanted} at {uri}, found {found}")
    return artifact, manifest.digest


def _found(uri: str, store: ObjectStore, access: Access) -> tuple[Artifact, Manifest | None]:
    """What lies at a URI; where that is gone, the same job's, stage's and key's in the store, which was moved."""
    artifact, place = Artifact(open_store(uri, access), ""), place_in_store(uri)
    gone: StorageError | None = None
    manifest = None
    try:
        manifest = artifact.manifest()
    except StorageError as error:
        gone = error
    if manifest is None and place is not None and store.uri_of(place) != artifact.uri:
        moved = Artifact(store, place)
        manifest = moved.manifest()
        if manifest is not None and place == f"{manifest.job}/{manifest.stage}/{manifest.key}":
            _tell(f"{uri}: nothing there: {moved.uri} is taken, the same job's, stage's and key's")
            return moved, manifest
    if gone is not None:
        raise gone
    return artifact, manifest


@cache
def _tell(line: str) -> None:
    log.warning("%s", line)
