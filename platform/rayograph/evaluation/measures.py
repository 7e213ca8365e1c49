"""Every figure of a report, from arrays of pixels.

A figure for samples stands beside the same figure for real images, under the same name with `_real` behind it: what a
perfect generator would reach with as many images. Without it a Fréchet distance is a number without a scale.

Shapes: n images, h w pixels; labels are class numbers, one an image.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int, UInt8

from rayograph.errors import DataError
from rayograph.evaluation.classifier import judge, train_judge
from rayograph.evaluation.distances import (
    frechet_distance,
    nearest_distances,
    precision_recall,
    within_class_variance,
)
from rayograph.evaluation.extractors import FeatureExtractor
from rayograph.evaluation.reconstruction import fidelity
from rayograph.evaluation.statistics import Moments


@dataclass(frozen=True)
class ImageSet:
    """Images and, where there are classes, the class of each."""

    pixels: UInt8[np.ndarray, "n h w 3"]
    labels: Int[np.ndarray, " n"] | None = None


@dataclass(frozen=True)
class MeasureSettings:
    """What may be chosen; figures taken under different settings cannot be compared."""

    extractor: FeatureExtractor
    neighbours: int = 3  # k = 3, as Kynkäänniemi et al. 2019
    classifier: bool = True  # false spares a judge that cannot read the images, whatever labels they carry


@dataclass(frozen=True)
class Measures:
    """The figures by their stable names; None where one does not apply.

    Shares are in [0, 1], PSNR in decibels, distances in units of the feature space (variances and Fréchet's squared).
    """

    feature_space: str
    counts: Mapping[str, int]
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


def measure(
    train: ImageSet,
    held_out: ImageSet,
    samples: ImageSet,
    reconstructions: UInt8[np.ndarray, "n h w 3"] | None,
    seed: int,
    settings: MeasureSettings,
) -> Measures:
    """All figures that apply. `reconstructions` are of `held_out`, in its order; None without an autoencoder."""
    if reconstructions is not None and reconstructions.shape != held_out.pixels.shape:
        raise DataError(
            f"reconstructions: expected one for each held-out image, {held_out.pixels.shape}, "
            f"got {reconstructions.shape}"
        )
    train_features, held_out_features, sample_features = (
        settings.extractor(torch.from_numpy(images.pixels)).double().numpy() for images in (train, held_out, samples)
    )
    real = Moments.of(held_out_features)
    # the floor: real images in place of the samples, and as many of them, since every figure depends on the number
    stand_ins = train_features[seeded_subset(len(train_features), len(sample_features), seed)]
    overlap = precision_recall(held_out_features, sample_features, settings.neighbours)
    overlap_real = precision_recall(held_out_features, stand_ins, settings.neighbours)
    nearest = nearest_distances(sample_features, train_features)
    nearest_real = nearest_distances(held_out_features, train_features)
    measures = Measures(
        feature_space=settings.extractor.name,
        counts={
            "train": len(train_features),
            "held_out": len(held_out_features),
            "samples": len(sample_features),
            "stand_ins": len(stand_ins),
        },
        precision=overlap.precision,
        precision_real=overlap_real.precision,
        recall=overlap.recall,
        recall_real=overlap_real.recall,
        frechet_distance=frechet_distance(Moments.of(sample_features), real),
        frechet_distance_real=frechet_distance(Moments.of(stand_ins), real),
        nearest_train_distance=float(np.median(nearest)),
        nearest_train_distance_real=float(np.median(nearest_real)),
        nearest_train_distance_first_percentile=float(np.percentile(nearest, 1)),
        nearest_train_distance_first_percentile_real=float(np.percentile(nearest_real, 1)),
    )
    if reconstructions is not None:
        faithful = fidelity(held_out.pixels, reconstructions)
        measures = replace(measures, reconstruction_psnr=faithful.psnr, reconstruction_ssim=faithful.ssim)
    measures = _with_variances(measures, train.labels, train_features, samples.labels, sample_features)
    measures = _judged(measures, train, held_out, samples) if settings.classifier else measures
    _require_finite(measures)
    return measures


def _require_finite(measures: Measures) -> None:
    """Raise DataError for a figure that is none; only a PSNR may be infinite, of a perfect reconstruction."""
    for name, value in vars(measures).items():
        if isinstance(value, float) and not math.isfinite(value) and (name, value) != ("reconstruction_psnr", math.inf):
            raise DataError(f"{name}: expected a finite figure, got {value}")


def _with_variances(
    measures: Measures,
    train_labels: np.ndarray | None,
    train_features: np.ndarray,
    sample_labels: np.ndarray | None,
    sample_features: np.ndarray,
) -> Measures:
    """Of the classes that both have, all training images for the real: the unbiased figure minds no number."""
    if train_labels is None or sample_labels is None:
        return measures
    counts = [
        dict(zip(*np.unique(labels, return_counts=True), strict=True)) for labels in (train_labels, sample_labels)
    ]
    both = [label for label, count in counts[0].items() if min(count, counts[1].get(label, 0)) > 1]
    if not both:
        return measures
    real, drawn = np.isin(train_labels, both), np.isin(sample_labels, both)
    return replace(
        measures,
        within_class_variance=within_class_variance(sample_features[drawn], sample_labels[drawn]),
        within_class_variance_real=within_class_variance(train_features[real], train_labels[real]),
    )


def seeded_subset(count: int, wanted: int, seed: int) -> np.ndarray:
    """`wanted` of the indices 0 … count − 1 in ascending order, drawn without replacement; all of them if too few."""
    chosen = np.random.default_rng(seed).choice(count, size=min(wanted, count), replace=False)
    return np.sort(chosen)


def _judged(measures: Measures, train: ImageSet, held_out: ImageSet, samples: ImageSet) -> Measures:
    """With the classifier's verdict, where all three sets have classes."""
    if train.labels is None or held_out.labels is None or samples.labels is None:
        return measures
    classifier = train_judge(train.pixels, train.labels)
    verdict = judge(classifier, held_out.pixels, held_out.labels, samples.pixels, samples.labels)
    return replace(
        measures,
        class_agreement=verdict.agreement,
        classifier_accuracy_real=verdict.accuracy_real,
        class_agreement_by_class=verdict.agreement_by_class,
        classifier_accuracy_real_by_class=verdict.accuracy_real_by_class,
    )
