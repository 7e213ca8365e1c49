import dataclasses
import math

import numpy as np
import pytest
from sklearn.datasets import load_digits

from rayograph.config import PooledPixels
from rayograph.errors import DataError
from rayograph.evaluation.classifier import judge, train_judge
from rayograph.evaluation.extractors.pooled_pixels import PooledPixelExtractor, pooled_pixels
from rayograph.evaluation.measures import ImageSet, MeasureSettings, measure, seeded_subset
from rayograph.evaluation.reconstruction import fidelity, psnr, ssim

GREY = PooledPixelExtractor(PooledPixels())
SETTINGS = MeasureSettings(GREY)


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
    assert fidelity(random_pixels, random_pixels.copy()) == (math.inf, pytest.approx(1.0))


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
    verdict = judge(train_judge(train.pixels, train.labels), held_out.pixels, held_out.labels, samples.pixels, asked)
    assert verdict.accuracy_real > 0.9
    assert verdict.agreement_by_class[0] > 0.9
    assert verdict.agreement_by_class[8] < 0.7
    assert 3 not in verdict.agreement_by_class


def test_a_judge_of_one_class_is_refused(digits):
    pixels = digits[0].pixels[:5]
    with pytest.raises(DataError, match="2 classes"):
        train_judge(pixels, np.zeros(5, dtype=np.int64))


def test_real_images_in_the_samples_place_measure_like_the_floor(digits):
    measures = measure(*digits, reconstructions=digits[1].pixels, seed=0, settings=SETTINGS)
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
    measures = measure(train, held_out, copies, None, seed=0, settings=SETTINGS)
    assert measures.nearest_train_distance == 0.0
    assert measures.nearest_train_distance_first_percentile == 0.0
    assert measures.nearest_train_distance_real > 0.0
    assert measures.class_agreement is None  # copies without labels cannot be judged


def test_without_labels_and_reconstructions_their_figures_are_none_and_the_others_stand(digits):
    bare = [ImageSet(images.pixels) for images in digits]
    settings = MeasureSettings(PooledPixelExtractor(PooledPixels(size=4, grey=False)))
    measures = dataclasses.asdict(measure(*bare, reconstructions=None, seed=0, settings=settings))
    assert measures["feature_space"] == "RGB pixels pooled to 4×4"
    assert {name for name, value in measures.items() if value is None} == {
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
    found = measure(train, held_out, narrow, None, seed=0, settings=SETTINGS)
    full = measure(train, held_out, samples, None, seed=0, settings=SETTINGS)
    assert found.within_class_variance == pytest.approx(full.within_class_variance / 4, rel=0.02)
    assert found.within_class_variance_real == full.within_class_variance_real


def test_variance_within_classes_is_of_the_classes_that_both_sets_have(digits):
    train, held_out, samples = digits
    few = samples.labels < 3
    asked = ImageSet(samples.pixels[few], samples.labels[few])
    found = measure(train, held_out, asked, None, seed=0, settings=MeasureSettings(GREY, classifier=False))
    features = pooled_pixels(train.pixels, 8, grey=True)
    own = [features[train.labels == label].var(axis=0, ddof=1).sum() for label in range(3)]
    assert found.within_class_variance_real == pytest.approx(np.mean(own))
    rows = [int(np.argmax(samples.labels == label)) for label in range(4)]
    one_each = ImageSet(samples.pixels[rows], samples.labels[rows])
    found = measure(train, held_out, one_each, None, seed=0, settings=MeasureSettings(GREY, classifier=False))
    assert found.within_class_variance is found.within_class_variance_real is None


def test_reconstructions_of_other_images_are_refused(digits):
    with pytest.raises(DataError, match="one for each held-out image"):
        measure(*digits, reconstructions=digits[1].pixels[:7], seed=0, settings=SETTINGS)


def test_the_stand_ins_follow_from_the_seed_and_are_all_images_when_few():
    np.testing.assert_array_equal(seeded_subset(100, 10, seed=0), seeded_subset(100, 10, seed=0))
    assert set(seeded_subset(100, 10, seed=0)) != set(seeded_subset(100, 10, seed=1))
    assert len(set(seeded_subset(100, 10, seed=0))) == 10
    np.testing.assert_array_equal(seeded_subset(5, 10, seed=0), np.arange(5))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_none_is_refused_by_name(monkeypatch, digits, value):
    monkeypatch.setattr("rayograph.evaluation.measures.frechet_distance", lambda *_: value)
    with pytest.raises(DataError, match=r"^frechet_distance: expected a finite figure, got (nan|inf)$"):
        measure(*digits, None, seed=0, settings=MeasureSettings(GREY, classifier=False))
