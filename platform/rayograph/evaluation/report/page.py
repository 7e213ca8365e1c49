"""The report: one page that needs nothing but itself, and the same figures for machines.

What does not apply, for want of classes or of an autoencoder, is None and left out of the page.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rayograph.evaluation.measures import Measures
from rayograph.evaluation.report.curves import line_chart
from rayograph.evaluation.report.figures import ClassRow, data_uri
from rayograph.evaluation.report.glossary import ENTRIES, duration, one_in, share
from rayograph.json_types import Json
from rayograph.runs.origins import Origin


@dataclass(frozen=True)
class Ancestor:
    """One artifact on the way from the samples back to the images."""

    stage: str
    uri: str
    digest: str
    created: str
    counts: Mapping[str, int] = field(default_factory=dict)
    parents: Sequence[str] = ()  # names of the stages it was made from


@dataclass(frozen=True)
class TrainingCurves:
    """One chart: rows as `metrics.jsonl` holds them, and which of their values to draw under which name."""

    stage: str
    title: str
    rows: Sequence[Mapping[str, object]]
    series: Mapping[str, str]
    logarithmic: bool = False


@dataclass(frozen=True)
class AskedSample:
    """A sample beside its conditions: texts and PNG bytes by their columns' names; `real` is of the same caption."""

    texts: Sequence[tuple[str, str]]
    given: Sequence[tuple[str, bytes]]
    drawn: bytes
    real: bytes | None = None


@dataclass(frozen=True)
class Report:
    """Everything a page shows. Pictures are PNG bytes; samples come by class or, without classes, as one sheet."""

    job: str
    measures: Measures
    stage_seconds: Mapping[str, float]  # in the order the stages ran
    lineage: Sequence[Ancestor]  # samples first, images last
    configuration: str  # the resolved job, YAML
    training: Sequence[TrainingCurves] = ()
    samples_by_class: Sequence[ClassRow] = ()
    samples: bytes | None = None
    asked: Sequence[AskedSample] = ()
    denoising: bytes | None = None
    reconstructions: bytes | None = None
    origins: Sequence[Origin] = ()  # whose images all of it was made from, where they say so
    class_names: Mapping[int, str] = field(default_factory=dict)  # a class without one shows its number


def render(report: Report) -> str:
    """The page: self-contained HTML, without scripts or references to anything outside it."""
    environment = Environment(
        loader=PackageLoader("rayograph", "evaluation/report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    environment.filters["duration"] = duration
    return environment.get_template("report.html.j2").render(
        report=report,
        measures=report.measures,
        figures=_figures(report.measures),
        subset=_subset(report.measures),
        classes=_classes(report),
        charts=_charts(report.training),
        longest_seconds=max(report.stage_seconds.values(), default=0.0),
        total_seconds=sum(report.stage_seconds.values()),
    )


def summary(report: Report) -> dict[str, Json]:
    """Return what `report.json` holds, under stable names; a figure that does not apply or is not finite is None.

    The same samples give the same bytes: when and where they were made stands in `circumstances`.
    """
    figures = {name: _jsonable(value) for name, value in dataclasses.asdict(report.measures).items()}
    return {"job": report.job, **figures}


def circumstances(report: Report) -> dict[str, Json]:
    """Return, for the manifest, what everything was made from and how long it took."""
    return {
        "stage_seconds": dict(report.stage_seconds),
        "lineage": [_jsonable(dataclasses.asdict(ancestor)) for ancestor in report.lineage],
    }


def headlines(figures: Mapping[str, object]) -> list[str]:
    """Lines for a terminal: the figures that apply, each beside what real images reach."""
    lines = []
    for name, real in (
        ("class_agreement", "classifier_accuracy_real"),
        ("retrieval_at_1_held_out", "retrieval_at_1_chance"),
        ("retrieval_at_5_held_out", "retrieval_at_5_chance"),
        ("retrieval_at_1_train", "retrieval_at_1_chance"),
        ("retrieval_at_5_train", "retrieval_at_5_chance"),
        ("precision", "precision_real"),
        ("recall", "recall_real"),
        ("within_class_variance", "within_class_variance_real"),
        ("frechet_distance", "frechet_distance_real"),
        ("nearest_train_distance", "nearest_train_distance_real"),
        ("reconstruction_psnr", None),
        ("reconstruction_ssim", None),
    ):
        value = figures.get(name)
        if value is not None:
            beside = f"   ({figures[real]:.4f} {real})" if real and figures.get(real) is not None else ""
            lines.append(f"{name:24} {value:.4f}{beside}")
    return lines


def _figures(measures: Measures) -> list[dict[str, object]]:
    """Tiles and table rows, for the figures that apply."""
    figures = []
    for entry in ENTRIES:
        value = getattr(measures, entry.name)
        if value is None:
            continue
        real = None if entry.real_name is None else getattr(measures, entry.real_name)
        written_real = None if real is None else entry.write(real)
        if entry.chance_name is not None:
            beside = entry.beside.format(one_in(getattr(measures, entry.chance_name)))
        else:
            beside = "" if entry.real_name and real is None else entry.beside.format(written_real)
        figures.append(
            {
                "entry": entry,
                "value": entry.write(value),
                "real": written_real,
                "beside": beside,
                "meaning": entry.meaning if entry.chance_name is None else f"{entry.meaning} {beside.capitalize()}.",
            }
        )
    return figures


def _subset(measures: Measures) -> str:
    """The sets of which not all images are compared one by one, as "10,000 of samples, 10,000 of train"."""
    fewer = {name: compared for name, compared in measures.compared.items() if compared < measures.counts[name]}
    return ", ".join(f"{compared:,} of {name.replace('_', '-')}" for name, compared in fewer.items())


def _classes(report: Report) -> list[dict[str, object]]:
    """Rows of the samples' sheet, each with how often the classifier agreed with it."""
    agreement = report.measures.class_agreement_by_class or {}
    return [
        {
            "name": report.class_names.get(row.label, str(row.label)),
            "png": row.png,
            "agreement": share(agreement[row.label]) if row.label in agreement else None,
        }
        for row in report.samples_by_class
    ]


def _charts(training: Sequence[TrainingCurves]) -> dict[str, list[dict[str, object]]]:
    """Charts by stage, in the order given, without those that have nothing to draw."""
    charts: dict[str, list[dict[str, object]]] = {}
    for curves in training:
        drawing = line_chart(
            curves.rows, curves.series, title=f"{curves.stage}: {curves.title}", logarithmic=curves.logarithmic
        )
        if drawing:  # safe: line_chart escapes every word it is given
            charts.setdefault(curves.stage, []).append({"title": curves.title, "svg": Markup(drawing)})
    return charts


def _jsonable(value: object) -> Json:
    """JSON knows neither infinities nor tuples nor numbers as keys."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return cast(Json, value)
