"""Every figure of a report, from summaries of sets of images.

A figure for samples stands beside the same figure for real images, under the same name with `_real` behind it: what a
perfect generator would reach with as many images. Without it a Fréchet distance is a number without a scale.

Shapes: n images, d features; labels are class numbers, one an image.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from rayograph.errors import DataError
from rayograph.evaluation.classifier import judge, train_judge
from rayograph.evaluation.distances import (
    frechet_distance,
    nearest_distances,
    precision_recall,
    within_class_variance,
)
from rayograph.evaluation.retrieval import retrieval
from rayograph.evaluation.summaries import Summary


@dataclass(frozen=True)
class Measures:
    """The figures by their stable names; None where one does not apply.

    Shares are in [0, 1], PSNR in decibels, distances in units of the feature space (variances and Fréchet's squared).
    """

    feature_space: str
    counts: Mapping[str, int]
    compared: Mapping[str, int] = field(default_factory=dict)
    """Of each set, how many were compared one by one: for precision and recall, nearest images, classes."""
    class_agreement: float | None = None
    classifier_accuracy_real: float | None = None
    class_agreement_by_class: Mapping[int, float] | None = None
    classifier_accuracy_real_by_class: Mapping[int, float] | None = None
    precision: float | None = None
    precision_real: float | None = None
    recall: float | None = None
    recall_real: float | None = None
    within_class_variance: float | None = None
    within_class_variance_real: float | None = None
    frechet_distance: float | None = None
    frechet_distance_real: float | None = None
    reconstruction_psnr: float | None = None
    reconstruction_ssim: float | None = None
    nearest_train_distance: float | None = None
    nearest_train_distance_real: float | None = None
    nearest_train_distance_first_percentile: float | None = None
    nearest_train_distance_first_percentile_real: float | None = None
    asked_for: Mapping[str, int] | None = None
    """Samples that name the real image that was asked for, by the set that it is of; "unknown" is none of them."""
    retrieval_at_1_held_out: float | None = None
    retrieval_at_5_held_out: float | None = None
    retrieval_at_1_train: float | None = None
    retrieval_at_5_train: float | None = None
    retrieval_at_1_chance: float | None = None
    retrieval_at_5_chance: float | None = None


def measure(train: Summary | None, held_out: Summary | None, samples: Summary, neighbours: int) -> Measures:
    """All figures that apply. Without held-out images the training images are the reference that samples are held to.

    `neighbours` is k of precision and recall: 3, as Kynkäänniemi et al. 2019. Raises DataError without either.
    """
    reference = held_out or train
    if reference is None:
        raise DataError("measures: expected images to compare with, got none")
    sets = {"train": train, "held_out": held_out, "samples": samples}
    overlap = precision_recall(reference.vectors, samples.vectors, neighbours)
    measures = Measures(
        feature_space=samples.space,
        counts={name: summary.moments.count for name, summary in sets.items() if summary},
        compared={name: len(summary.vectors) for name, summary in sets.items() if summary},
        precision=overlap.precision,
        recall=overlap.recall,
        frechet_distance=frechet_distance(samples.moments, reference.moments),
    )
    if train is not None:
        measures = _with_nearest(measures, train, samples, held_out)
    if train is not None and held_out is not None:
        measures = _with_floor(measures, train, held_out, neighbours)
        measures = _judged(measures, train, held_out, samples)
    if held_out is not None and (faithful := held_out.fidelity.means):
        measures = replace(measures, reconstruction_psnr=faithful.psnr, reconstruction_ssim=faithful.ssim)
    measures = _with_variances(measures, train or reference, samples)
    measures = _with_retrieval(measures, train, held_out, samples)
    _require_finite(measures)
    return measures


def _with_floor(measures: Measures, train: Summary, held_out: Summary, neighbours: int) -> Measures:
    """Real images in place of the samples, and as many of them, since every figure depends on the number."""
    overlap = precision_recall(held_out.vectors, train.stand_ins.astype(np.float64, copy=False), neighbours)
    return replace(
        measures,
        counts={**measures.counts, "stand_ins": train.stand_in_moments.count},
        precision_real=overlap.precision,
        recall_real=overlap.recall,
        frechet_distance_real=frechet_distance(train.stand_in_moments, held_out.moments),
    )


def _with_nearest(measures: Measures, train: Summary, samples: Summary, held_out: Summary | None) -> Measures:
    nearest = nearest_distances(samples.vectors, train.vectors)
    measures = replace(
        measures,
        nearest_train_distance=float(np.median(nearest)),
        nearest_train_distance_first_percentile=float(np.percentile(nearest, 1)),
    )
    if held_out is None:
        return measures
    nearest = nearest_distances(held_out.vectors, train.vectors)
    return replace(
        measures,
        nearest_train_distance_real=float(np.median(nearest)),
        nearest_train_distance_first_percentile_real=float(np.percentile(nearest, 1)),
    )


def _with_retrieval(measures: Measures, train: Summary | None, held_out: Summary | None, samples: Summary) -> Measures:
    """Where samples name the images that they were asked after."""
    real = {name: summary for name, summary in (("train", train), ("held_out", held_out)) if summary is not None}
    found = retrieval(real, samples)
    if found is None:
        return measures
    return replace(
        measures,
        asked_for=found.asked,
        retrieval_at_1_held_out=found.at_1.get("held_out"),
        retrieval_at_5_held_out=found.at_5.get("held_out"),
        retrieval_at_1_train=found.at_1.get("train"),
        retrieval_at_5_train=found.at_5.get("train"),
        retrieval_at_1_chance=found.chance_at_1,
        retrieval_at_5_chance=found.chance_at_5,
    )


def _require_finite(measures: Measures) -> None:
    """Raise DataError for a figure that is none; only a PSNR may be infinite, of a perfect reconstruction."""
    for name, value in vars(measures).items():
        if isinstance(value, float) and not math.isfinite(value) and (name, value) != ("reconstruction_psnr", math.inf):
            raise DataError(f"{name}: expected a finite figure, got {value}")


def _with_variances(measures: Measures, real: Summary, samples: Summary) -> Measures:
    """Of the classes that both have, all real images: the unbiased figure minds no number."""
    if real.labels is None or samples.labels is None:
        return measures
    counts = [
        dict(zip(*np.unique(labels, return_counts=True), strict=True)) for labels in (real.labels, samples.labels)
    ]
    both = [label for label, count in counts[0].items() if min(count, counts[1].get(label, 0)) > 1]
    if not both:
        return measures
    of_real, drawn = np.isin(real.labels, both), np.isin(samples.labels, both)
    return replace(
        measures,
        within_class_variance=within_class_variance(samples.vectors[drawn], samples.labels[drawn]),
        within_class_variance_real=within_class_variance(real.vectors[of_real], real.labels[of_real]),
    )


def _judged(measures: Measures, train: Summary, held_out: Summary, samples: Summary) -> Measures:
    """With the classifier's verdict, where all three sets have classes, and images that it can read."""
    if train.labels is None or held_out.labels is None or samples.labels is None:
        return measures
    if not train.compared.thumbnails.shape[1]:
        return measures
    classifier = train_judge(train.compared.thumbnails, train.labels)
    verdict = judge(
        classifier, held_out.compared.thumbnails, held_out.labels, samples.compared.thumbnails, samples.labels
    )
    return replace(
        measures,
        class_agreement=verdict.agreement,
        classifier_accuracy_real=verdict.accuracy_real,
        class_agreement_by_class=verdict.agreement_by_class,
        classifier_accuracy_real_by_class=verdict.accuracy_real_by_class,
    )
