"""What an exported folder gets beside its weights: a pipeline for diffusers, and a model card."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rayograph.config.stage_base import ArtifactType
from rayograph.errors import DataError, MissingObjectError, StorageError
from rayograph.models.exported.model_card import CARD, model_card
from rayograph.models.exported.pipeline_files import pipeline_files
from rayograph.models.layout import CONFIG, SCHEDULER_CONFIG
from rayograph.runs.artifact import Artifact
from rayograph.runs.lineage import LineageNode, ancestors
from rayograph.runs.manifest import Manifest
from rayograph.runs.origins import origins_of
from rayograph.storage import Access, open_store

_CONFIGS = {
    "vae": f"vae/{CONFIG}",
    "unet": f"unet/{CONFIG}",
    "scheduler": f"scheduler/{SCHEDULER_CONFIG}",
    "conditioner": f"conditioner/{CONFIG}",
}
_REPORT = "report.json"

_OF_THE_DATA = ("class_names", "image_size")


def write_pipeline(
    place: Artifact, name: str, facts: Mapping[str, Any], lineage: Sequence[LineageNode], measured: str | None
) -> str:
    """Write what diffusers opens and the card; return what has to be said of it.

    `facts` are the model's, as its manifest has them; `lineage` is what it was made from, itself first if it is
    committed; reports of it are looked for beside `measured`, the model's artifact, where it is just that model.
    """
    configs = {
        part: json.loads(place.read(key)) for part, key in _CONFIGS.items() if place.store.exists(place.key(key))
    }
    files = pipeline_files(configs, [str(each) for each in facts.get("class_names") or ()])
    for key, data in files.items():
        place.write(key, data)
    made_from = [(node.manifest.stage, node.manifest.digest) for node in lineage]
    origins = origins_of(node.manifest.facts for node in lineage)
    figures = figures_of(measured, made_from[0][1]) if measured is not None and made_from else {}
    place.write(CARD, model_card(name, made_from, origins, figures, facts, bool(files)))
    if files:
        return f'opens with DiffusionPipeline.from_pretrained("{place.uri}", trust_remote_code=True)'
    return (
        "opens part by part with from_pretrained: as a pipeline does what is in diffusers' form, of classes or of none"
    )


def lineage_of(artifact: Artifact, parents: Sequence[Artifact], access: Access) -> list[LineageNode]:
    """Return an artifact and all that it was made from; of one under way its parents and theirs.

    What is not there any more is left out.
    """
    found: dict[str, LineageNode] = {}
    for start in [artifact] if artifact.manifest() is not None else parents:
        try:
            found |= {node.uri: node for node in ancestors(start, access)}
        except (DataError, StorageError):
            manifest = start.manifest()
            if manifest is not None:
                found[start.uri] = LineageNode(start, manifest, ())
    return list(found.values())


def facts_of(manifest: Manifest | None, lineage: Sequence[LineageNode]) -> dict[str, Any]:
    """Return a model's facts; of one under way what its data says of classes and size."""
    if manifest is not None:
        return manifest.facts
    known = [node.manifest.facts for node in lineage]
    return {name: facts[name] for name in _OF_THE_DATA for facts in reversed(known) if name in facts}


def figures_of(uri: str, digest: str) -> dict[str, float]:
    """Return the figures of a report of this model in its job, the newest one's; of a model without one none."""
    store_uri, *path = uri.rstrip("/").rsplit("/", 3)
    if len(path) < 3:
        return {}
    store = open_store(store_uri)
    newest: tuple[str, dict[str, float]] = ("", {})
    try:
        for stage in store.folders(path[0]):
            for key in store.folders(f"{path[0]}/{stage}"):
                report = Artifact(store, f"{path[0]}/{stage}/{key}")
                newest = max(newest, _figures(report, digest), key=lambda each: each[0])
    except (DataError, StorageError):
        return {}
    return newest[1]


def _figures(report: Artifact, digest: str) -> tuple[str, dict[str, float]]:
    """When it was made, and its numbers."""
    manifest = report.manifest()
    if manifest is None or manifest.type is not ArtifactType.REPORT:
        return "", {}
    if digest not in {parent.digest for parent in manifest.parents}:
        return "", {}
    try:
        said = json.loads(report.read(_REPORT))
    except (MissingObjectError, ValueError):
        return "", {}
    return manifest.created, {name: float(value) for name, value in said.items() if isinstance(value, int | float)}
