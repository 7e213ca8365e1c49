import dataclasses
import math
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.datasets import load_digits

from rayograph.config import PooledPixels
from rayograph.errors import DataError
from rayograph.evaluation.classifier import judge, thumbnails, train_judge
from rayograph.evaluation.distances import (
    frechet_distance,
    nearest_distances,
    precision_recall,
    within_class_variance,
)
from rayograph.evaluation.extractors.pooled_pixels import PooledPixelExtractor, pooled_pixels
from rayograph.evaluation.measures import measure
from rayograph.evaluation.reconstruction import FidelitySums, psnr, ssim
from rayograph.evaluation.selection import seeded_subset, select
from rayograph.evaluation.statistics import Moments
from rayograph.evaluation.summaries import Summariser, joined

GREY = PooledPixelExtractor(PooledPixels())


class ImageSet(NamedTuple):
    pixels: np.ndarray
    labels: np.ndarray | None = None


def summary(images, extractor=GREY, *, stand_ins=0, judged=True, reconstructions=None, parts=3, compared=10_000):
    """What actors make of a set of images in so many shards."""
    rows = np.array_split(np.arange(len(images.pixels)), parts)
    remade = iter([] if reconstructions is None else [reconstructions[part] for part in rows])
    summarise = Summariser(extractor, judged, None if reconstructions is None else lambda *_: next(remade))
    selections = select([len(part) for part in rows], 0, compared=compared, stand_ins=stand_ins)
    return joined(
        summarise(
            selection,
            np.arange(len(part)),
            images.pixels[part],
            None if images.labels is None else images.labels[part],
            [],
            [],
        )
        for part, selection in zip(rows, selections, strict=True)
    )


def measured(train, held_out, samples, reconstructions=None, **options):
    return measure(
        summary(train, stand_ins=len(samples.pixels), **options),
        summary(held_out, reconstructions=reconstructions, **options),
        summary(samples, **options),
        3,
    )


@pytest.fixture(scope="module")
def digits():
    """Real digits at 16×16: 800 to train on, 150 held out, 200 that stand in for samples."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))  # they come sorted by writer
    small = (images[order].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    pixels = np.repeat(small.repeat(2, axis=1).repeat(2, axis=2)[..., None], 3, axis=-1)
    parts = (slice(800), slice(800, 950), slice(950, 1150))
    return [ImageSet(pixels[part], labels[order][part]) for part in parts]


@pytest.fixture(scope="module")
def random_pixels():
    return np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


def test_psnr_is_its_closed_form_averaged_over_images():
    real = np.full((2, 4, 4, 3), 100, dtype=np.uint8)
    off_by_one_and_ten = real + np.array([1, 10], dtype=np.uint8)[:, None, None, None]
    expected = (10 * math.log10(255**2) + 10 * math.log10(255**2 / 100)) / 2
    assert psnr(real, off_by_one_and_ten) == pytest.approx(expected)
    assert psnr(off_by_one_and_ten, real) == pytest.approx(expected)  # unsigned differences must not wrap


def test_a_perfect_reconstruction_has_infinite_psnr_and_unit_ssim(random_pixels):
    assert FidelitySums.of(random_pixels, random_pixels.copy()).means == (math.inf, pytest.approx(1.0))


def test_ssim_of_constant_images_is_its_luminance_term():
    real, darker = np.full((2, 16, 16, 3), 200, dtype=np.uint8), np.full((2, 16, 16, 3), 100, dtype=np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(real, darker) == pytest.approx((2 * 200 * 100 + c1) / (200**2 + 100**2 + c1), rel=1e-4)


def test_ssim_is_the_mean_over_images_across_batches(random_pixels, monkeypatch):
    other = np.roll(random_pixels, 1, axis=1)
    at_once = ssim(random_pixels, other)
    monkeypatch.setattr("rayograph.evaluation.reconstruction.IMAGES_AT_ONCE", 2)
    assert ssim(random_pixels, other) == pytest.approx(at_once, rel=1e-5)


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(DataError, match="8×8"):
        ssim(np.zeros((1, 8, 8, 3), dtype=np.uint8), np.zeros((1, 8, 8, 3), dtype=np.uint8))


def test_the_judge_reads_real_digits_and_notices_a_wrong_class(digits):
    train, held_out, samples = digits
    asked = samples.labels.copy()
    asked[samples.labels == 3] = 8
    seen, kept, drawn = (thumbnails(images.pixels) for images in digits)
    verdict = judge(train_judge(seen, train.labels), kept, held_out.labels, drawn, asked)
    assert verdict.accuracy_real > 0.9
    assert verdict.agreement_by_class[0] > 0.9
    assert verdict.agreement_by_class[8] < 0.7
    assert 3 not in verdict.agreement_by_class


def test_a_judge_of_one_class_is_refused(digits):
    images = thumbnails(digits[0].pixels[:5])
    with pytest.raises(DataError, match="2 classes"):
        train_judge(images, np.zeros(5, dtype=np.int64))


def test_real_images_in_the_samples_place_measure_like_the_floor(digits):
    measures = measured(*digits, reconstructions=digits[1].pixels)
    assert measures.counts == {"train": 800, "held_out": 150, "samples": 200, "stand_ins": 200}
    assert measures.class_agreement > 0.9
    assert measures.precision == pytest.approx(measures.precision_real, abs=0.15)
    assert measures.recall == pytest.approx(measures.recall_real, abs=0.15)
    assert measures.within_class_variance == pytest.approx(measures.within_class_variance_real, rel=0.1)
    assert 0.5 < measures.frechet_distance / measures.frechet_distance_real < 2
    assert 0.5 < measures.nearest_train_distance / measures.nearest_train_distance_real < 2
    assert measures.reconstruction_psnr == math.inf


def test_copies_of_training_images_show_as_distance_zero(digits):
    train, held_out, _ = digits
    copies = ImageSet(train.pixels[:100])
    measures = measured(train, held_out, copies)
    assert measures.nearest_train_distance == 0.0
    assert measures.nearest_train_distance_first_percentile == 0.0
    assert measures.nearest_train_distance_real > 0.0
    assert measures.class_agreement is None  # copies without labels cannot be judged


def test_without_labels_and_reconstructions_their_figures_are_none_and_the_others_stand(digits):
    bare = [ImageSet(images.pixels) for images in digits]
    measures = dataclasses.asdict(measured(*bare, extractor=PooledPixelExtractor(PooledPixels(size=4, grey=False))))
    assert measures["feature_space"] == "RGB pixels pooled to 4×4"
    asked = {name for name in measures if name.startswith("retrieval_at_")} | {"asked_for"}
    assert {name for name, value in measures.items() if value is None} == asked | {
        "class_agreement",
        "class_agreement_by_class",
        "classifier_accuracy_real",
        "classifier_accuracy_real_by_class",
        "reconstruction_psnr",
        "reconstruction_ssim",
        "within_class_variance",
        "within_class_variance_real",
    }


def test_samples_drawn_towards_their_classes_means_have_less_variance_within_them(digits):
    train, held_out, samples = digits
    means = np.stack([train.pixels[train.labels == label].mean(axis=0) for label in range(10)])
    half = means[samples.labels] + (samples.pixels - means[samples.labels]) / 2
    narrow = ImageSet(np.clip(half.round(), 0, 255).astype(np.uint8), samples.labels)
    found = measured(train, held_out, narrow)
    full = measured(train, held_out, samples)
    assert found.within_class_variance == pytest.approx(full.within_class_variance / 4, rel=0.02)
    assert found.within_class_variance_real == full.within_class_variance_real


def test_variance_within_classes_is_of_the_classes_that_both_sets_have(digits):
    train, held_out, samples = digits
    few = samples.labels < 3
    asked = ImageSet(samples.pixels[few], samples.labels[few])
    found = measured(train, held_out, asked, judged=False)
    features = pooled_pixels(train.pixels, 8, grey=True)
    own = [features[train.labels == label].var(axis=0, ddof=1).sum() for label in range(3)]
    assert found.within_class_variance_real == pytest.approx(np.mean(own))
    rows = [int(np.argmax(samples.labels == label)) for label in range(4)]
    one_each = ImageSet(samples.pixels[rows], samples.labels[rows])
    found = measured(train, held_out, one_each, judged=False)
    assert found.within_class_variance is found.within_class_variance_real is None


def test_every_figure_is_the_one_that_all_images_at_once_give(digits):
    train, held_out, samples = digits
    found = measured(train, held_out, samples, reconstructions=np.roll(held_out.pixels, 1, axis=1), parts=7)
    features = [pooled_pixels(images.pixels, 8, grey=True) for images in digits]
    stand_ins = features[0][seeded_subset(800, 200, seed=0)]
    assert (found.precision, found.recall) == precision_recall(features[1], features[2], 3)
    assert (found.precision_real, found.recall_real) == precision_recall(features[1], stand_ins, 3)
    whole = [Moments.of(part) for part in (features[2], stand_ins, features[1])]
    assert found.frechet_distance == pytest.approx(frechet_distance(whole[0], whole[2]), abs=1e-12)
    assert found.frechet_distance_real == pytest.approx(frechet_distance(whole[1], whole[2]), abs=1e-12)
    assert found.nearest_train_distance == np.median(nearest_distances(features[2], features[0]))
    assert found.within_class_variance == within_class_variance(features[2], samples.labels)
    rolled = np.roll(held_out.pixels, 1, axis=1)
    assert found.reconstruction_psnr == pytest.approx(psnr(held_out.pixels, rolled), rel=1e-12)
    assert found.reconstruction_ssim == pytest.approx(ssim(held_out.pixels, rolled), rel=1e-5)
    assert found.compared == {"train": 800, "held_out": 150, "samples": 200}


def test_figures_of_a_subset_are_near_those_of_all_and_moments_stay_those_of_all(digits):
    whole, part = measured(*digits), measured(*digits, compared=120)
    assert part.compared == {"train": 120, "held_out": 120, "samples": 120}
    assert part.counts == whole.counts
    assert part.frechet_distance == whole.frechet_distance
    assert part.frechet_distance_real == whole.frechet_distance_real
    assert part.precision == pytest.approx(whole.precision, abs=0.15)


def test_without_held_out_images_samples_are_held_to_all_of_them_and_nothing_to_real_ones(digits):
    train, _, samples = digits
    found = measure(summary(train), None, summary(samples), 3)
    assert found.counts == {"train": 800, "samples": 200}
    features = [pooled_pixels(images.pixels, 8, grey=True) for images in (train, samples)]
    assert (found.precision, found.recall) == precision_recall(*features, 3)
    assert found.nearest_train_distance == np.median(nearest_distances(features[1], features[0]))
    missing = {name for name, value in vars(found).items() if value is None}
    assert {"frechet_distance_real", "precision_real", "class_agreement", "reconstruction_psnr"} <= missing
    assert found.within_class_variance_real > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_none_is_refused_by_name(monkeypatch, digits, value):
    monkeypatch.setattr("rayograph.evaluation.measures.frechet_distance", lambda *_: value)
    with pytest.raises(DataError, match=r"^frechet_distance: expected a finite figure, got (nan|inf)$"):
        measured(*digits, judged=False)
