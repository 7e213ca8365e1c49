"""What the page tells of the way from samples back to images: each artifact, and how each training went."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rayograph.evaluation.report.page import Ancestor, TrainingCurves
from rayograph.runs.lineage import LineageNode
from rayograph.runs.manifest import Manifest
from rayograph.runs.tracking import read_metrics


class Chart(NamedTuple):
    """A chart of a kind of training: which metrics it draws, under which names."""

    title: str
    series: Mapping[str, str]
    logarithmic: bool = False


CHARTS: Mapping[str, Sequence[Chart]] = {
    "train_autoencoder": (
        Chart("Reconstruction", {"reconstruction": "L1 + perceptual", "perceptual": "perceptual"}, logarithmic=True),
        Chart("Adversary", {"generator": "generator", "discriminator": "discriminator"}),
    ),
    "train_diffusion": (Chart("Denoising", {"loss": "mean squared error"}, logarithmic=True),),
}


def lineage(ancestry: Sequence[LineageNode]) -> list[Ancestor]:
    """Describe the artifacts, each with the stages that it was made from."""
    stages = {node.uri: node.manifest.stage for node in ancestry}
    return [
        Ancestor(
            stage=node.manifest.stage,
            uri=node.uri,
            digest=node.manifest.digest,
            created=node.manifest.created,
            counts=_counts(node.manifest),
            parents=tuple(stages[parent.uri] for parent in node.parents),
        )
        for node in ancestry
    ]


def training_curves(ancestry: Sequence[LineageNode]) -> list[TrainingCurves]:
    """Return the charts of all trainings, the first one's first."""
    return [
        TrainingCurves(node.manifest.stage, chart.title, rows, chart.series, chart.logarithmic)
        for node in reversed(ancestry)
        if node.manifest.kind in CHARTS
        for rows in [read_metrics(node.artifact)]
        for chart in CHARTS[node.manifest.kind]
    ]


def _counts(manifest: Manifest) -> Mapping[str, int]:
    if manifest.shards:
        return {"samples": manifest.samples, "shards": len(manifest.shards)}
    return {"files": len(manifest.files)}
