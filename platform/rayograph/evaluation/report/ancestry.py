"""What the page tells of the way from samples back to images: each artifact, and how each training went."""

from collections.abc import Mapping, Sequence

from rayograph.config.job.stages import STAGES
from rayograph.config.stage_base import Chart, StageBase
from rayograph.errors import ConfigError
from rayograph.evaluation.report.page import Ancestor, TrainingCurves
from rayograph.runs.lineage import LineageNode
from rayograph.runs.manifest import Manifest
from rayograph.runs.tracking import read_metrics


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
        for charts in [_charts(node.manifest.kind)]
        for rows in [read_metrics(node.artifact) if charts else []]
        for chart in charts
    ]


def _charts(kind: str) -> tuple[Chart, ...]:
    """What a kind of stage declares; nothing for one that is not known here."""
    try:
        declaration = STAGES.declaration(kind)
    except (KeyError, ConfigError):
        return ()
    return declaration.charts if issubclass(declaration, StageBase) else ()


def _counts(manifest: Manifest) -> Mapping[str, int]:
    if manifest.shards:
        return {"samples": manifest.samples, "shards": len(manifest.shards)}
    return {"files": len(manifest.files)}
