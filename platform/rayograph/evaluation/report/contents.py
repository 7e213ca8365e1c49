"""What a report holds of measured sets of images: sheets, charts, lineage, the job."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rayograph.config.reading import core_yaml
from rayograph.runs.lineage import ancestors
from rayograph.runs.origins import origins_of
from rayograph.runs.stage_context import StageContext

if TYPE_CHECKING:
    from rayograph.evaluation.measures import Measures
    from rayograph.evaluation.report.page import AskedSample, Report
    from rayograph.evaluation.summaries import Summary

COLUMNS = 12
"""Images side by side on a sheet."""


def report_of(
    stage: StageContext,
    measures: "Measures",
    found: Mapping[str, "Summary"],
    steps: np.ndarray | None,
    asked: Sequence["AskedSample"] = (),
) -> "Report":
    """Gather what the page shows; `steps` are those of a few samples on their way, where a model is named.

    `asked` are a few samples beside what they were asked for.
    """
    from rayograph.evaluation.report.ancestry import lineage, training_curves
    from rayograph.evaluation.report.figures import denoising_strip, reconstruction_pairs, samples_by_class, tile
    from rayograph.evaluation.report.page import Report

    samples, held_out = found["samples"], found.get("held_out")
    shown = samples.shown
    rows = samples_by_class(shown.pixels, shown.labels, COLUMNS) if samples.labelled else []
    pairs = None
    if held_out is not None and len(held_out.shown.reconstructions):
        pairs = reconstruction_pairs(held_out.shown.pixels, held_out.shown.reconstructions, COLUMNS)
    ancestry = ancestors(stage.inputs["samples"], stage.scale.access)
    known = {node.uri for node in ancestry}
    ancestry += [node for node in ancestors(stage.inputs["images"], stage.scale.access) if node.uri not in known]
    names = [stage.input(field)[1].facts.get("class_names") for field in ("images", "samples")]
    return Report(
        job=stage.job.name,
        measures=measures,
        stage_seconds={node.manifest.stage: node.manifest.seconds for node in reversed(ancestry)},
        lineage=lineage(ancestry),
        configuration=core_yaml.dump(stage.job.model_dump(mode="json")),
        training=training_curves(ancestry),
        samples_by_class=rows,
        samples=None if rows else tile(shown.pixels[: 8 * COLUMNS], COLUMNS),
        asked=asked,
        denoising=None if steps is None else denoising_strip(steps, scale=2),
        reconstructions=pairs,
        origins=origins_of(node.manifest.facts for node in ancestry),
        class_names=dict(enumerate(next(filter(None, names), []))),
    )


def pictures(report: "Report", samples: "Summary") -> dict[str, bytes]:
    """What the tracker shows."""
    from rayograph.evaluation.report.figures import tile

    pictures = {
        "reconstructions": report.reconstructions,
        "samples": report.samples or tile(samples.shown.pixels[: 8 * COLUMNS], COLUMNS),
        "denoising": report.denoising,
    }
    return {name: picture for name, picture in pictures.items() if picture is not None}
