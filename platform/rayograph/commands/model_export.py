"""`rayograph export`: a model out of a training's checkpoints, at any time, any average or one between."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from rayograph.commands.pipeline_folder import facts_of, lineage_of, write_pipeline
from rayograph.errors import CheckpointError, ConfigError, RayographError
from rayograph.models.model_folder import save_model
from rayograph.pipeline.resolve import needed, resolve
from rayograph.runs.artifact import Artifact
from rayograph.runs.job_record import JobRecord
from rayograph.runs.manifest import Manifest
from rayograph.runs.stage_context import StageContext, begun
from rayograph.stages.export_model import Recipe, engine_of, models_of, training_at
from rayograph.storage import Access, open_store
from rayograph.training.checkpoints.averaged_weights import (
    AveragedWeights,
    average_key,
    kept_average,
    solved_average,
)
from rayograph.training.checkpoints.checkpoint import folder_of, positions

MODEL, EXPORT = "model/", "export.json"
_UNTRAINED = ("import_model", "export_model")
"""Stages whose models are complete as they are committed."""


@dataclass(frozen=True)
class Wanted:
    """At how many images, None being the newest; which average by its key, or a length to solve for."""

    images_seen: int | None = None
    average: str | None = None
    length: float | None = None


def export(uri: str, target: str, endpoint_url: str | None, wanted: Wanted) -> Iterator[str]:
    """Write vae, unet and scheduler folders, as `from_pretrained` opens them, below `target`; yield what it took.

    Raises ConfigError for an average that the training does not keep, CheckpointError where nothing is whole.
    """
    committed = Artifact(open_store(uri, endpoint_url), "")
    place = Artifact(open_store(target, endpoint_url), "")
    if place.store.uri == committed.store.uri:
        raise ConfigError(f"--to: expected another folder than the training's own, got {target}")
    manifest = committed.manifest()
    if manifest is not None and manifest.kind in _UNTRAINED and wanted == Wanted():
        yield from _copied(committed, manifest, place, endpoint_url)
        return
    artifact, record, recipe = training_at(uri, endpoint_url)
    try:
        found, weights = _read(artifact, recipe, wanted)
    except ConfigError as error:
        raise ConfigError(f"--{error}") from None
    scale = record.scale.model_copy(update={"endpoint_url": endpoint_url or record.scale.endpoint_url})
    record = replace(record, scale=scale)
    training = begun(artifact, record, scale.access) or _resolved(uri, record)
    place.store.check_access()  # not before: what cannot be exported leaves nothing there
    for folder, model in models_of(training, recipe, weights):
        save_model(place, folder.removeprefix(MODEL), model)
    facts = {
        "artifact": artifact.uri,
        "images_seen": found.images_seen,
        "length": wanted.length,
        "shares": found.shares,
    }
    place.write(EXPORT, json.dumps(facts, indent=1).encode())
    mixed = ", ".join(f"{share:+.3f} {of}" for of, share in found.shares.items())
    yield f"{place.uri}  of {found.images_seen:,} images: {mixed}"
    lineage = lineage_of(artifact, tuple(training.inputs.values()), scale.access)
    measured = artifact.uri if wanted == Wanted() else None
    yield write_pipeline(place, f"{record.job.name}, {record.stage}", facts_of(manifest, lineage), lineage, measured)


def _copied(artifact: Artifact, manifest: Manifest, place: Artifact, access: Access) -> Iterator[str]:
    """Write a committed model that no training of ours made, as it is."""
    place.store.check_access()
    with tempfile.TemporaryDirectory(prefix="rayograph-") as folder:
        for name in artifact.copy(manifest, MODEL.rstrip("/"), Path(folder)):
            place.write(name, (Path(folder) / name).read_bytes())
    place.write(EXPORT, json.dumps({"artifact": artifact.uri, "digest": manifest.digest}, indent=1).encode())
    yield f"{place.uri}  as {manifest.stage} has it, sha256 {manifest.digest}"
    lineage = lineage_of(artifact, (), access)
    yield write_pipeline(place, f"{manifest.job}, {manifest.stage}", manifest.facts, lineage, artifact.uri)


def _read(artifact: Artifact, recipe: Recipe, wanted: Wanted) -> tuple[AveragedWeights, dict[str, Tensor]]:
    """Return the weights at one checkpoint; without one asked for, at the newest whole one."""
    network = engine_of(recipe)
    if wanted.length is not None:
        found = solved_average(artifact, recipe, wanted.length, wanted.images_seen)
        return found, found.read(network)
    average_key(recipe, wanted.average)
    faults = []
    newest_first = list(reversed(positions(artifact)))
    for images_seen in newest_first if wanted.images_seen is None else [wanted.images_seen]:
        try:
            found = kept_average(artifact, recipe, wanted.average, images_seen)
            return found, found.read(network)
        except RayographError as error:
            if images_seen not in newest_first:
                raise
            faults.append(f"{folder_of(images_seen)}: {error}")
    raise CheckpointError(f"{artifact.uri}: expected a whole checkpoint: {'; '.join(faults) or 'there is none'}")


def _resolved(uri: str, record: JobRecord) -> StageContext:
    """Return the stage of a training under way that was begun before job files said what they read."""
    store_uri, *path = uri.rstrip("/").rsplit("/", 3)
    store = open_store(store_uri, record.scale.access)
    stages = {name: record.job.stages[name] for name in needed(record.job, record.stage)}
    found = resolve(record.job.model_copy(update={"stages": stages}), record.scale, store)[record.stage]
    return replace(found, artifact=Artifact(store, "/".join(path)))
