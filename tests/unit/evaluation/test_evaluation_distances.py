import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from rayograph.errors import DataError
from rayograph.evaluation.distances import (
    frechet_distance as frechet_distance_of_moments,
)
from rayograph.evaluation.distances import (
    nearest_distances,
    precision_recall,
    within_class_variance,
)
from rayograph.evaluation.statistics import Moments


def frechet_distance(a, b):
    return frechet_distance_of_moments(Moments.of(a), Moments.of(b))


def with_moments(mean, covariance, count, seed):
    """A set whose sample mean and unbiased covariance are exactly those given."""
    raw = np.random.default_rng(seed).normal(size=(count, len(mean)))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(raw, rowvar=False)))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def covariance(size, seed):
    root = np.random.default_rng(seed).normal(size=(size, size))
    return root @ root.T + 0.1 * np.eye(size)


def test_variance_within_classes_minds_neither_their_means_nor_their_sizes():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [3000, 1000, 1])
    features = random.normal(size=(4001, 2)) * np.array([[1.0], [2.0], [9.0]])[labels] + 100.0 * labels[:, None]
    assert within_class_variance(features, labels) == pytest.approx((2 * 1 + 2 * 4) / 2, rel=0.05)
    pairs = np.array([[0.0], [2.0], [5.0], [5.0]])
    assert within_class_variance(pairs, np.array([7, 7, 3, 3])) == pytest.approx(1.0)  # unbiased: 2 and 0
    with pytest.raises(DataError, match="expected a class of 2 images"):
        within_class_variance(pairs, np.arange(4))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 12))
def test_frechet_distance_is_that_of_gaussians_with_the_same_moments(seed, size):
    mean_a, mean_b = np.random.default_rng(seed).normal(size=(2, size))
    cov_a, cov_b = covariance(size, seed + 1), covariance(size, seed + 2)
    a, b = with_moments(mean_a, cov_a, 60, seed + 3), with_moments(mean_b, cov_b, 90, seed + 4)
    root = np.real(sqrtm(cov_a @ cov_b))
    closed_form = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(closed_form, rel=1e-6, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12, abs=1e-12)


def test_frechet_distance_of_a_set_to_itself_is_zero_even_where_a_pixel_is_always_black():
    features = np.random.default_rng(0).random((50, 8))
    features[:, 3] = 0.0
    assert frechet_distance(features, features) == pytest.approx(0.0, abs=1e-13)
    assert frechet_distance(features, features[::-1].copy()) == pytest.approx(0.0, abs=1e-13)


def test_frechet_distance_of_a_shifted_set_is_the_squared_shift_even_with_fewer_images_than_features():
    features = np.random.default_rng(0).random((5, 40))
    assert frechet_distance(features, features + 0.5) == pytest.approx(40 * 0.25)


def test_frechet_distance_needs_two_images_in_each_set():
    with pytest.raises(DataError, match="got 1"):
        frechet_distance(np.zeros((1, 3)), np.zeros((4, 3)))


def test_identical_sets_have_full_precision_and_recall():
    features = np.random.default_rng(0).random((40, 6))
    assert precision_recall(features, features.copy(), k=3) == (1.0, 1.0)


def test_identical_images_throughout_have_full_precision_and_recall():
    assert precision_recall(np.full((9, 4), 0.1), np.full((7, 4), 0.1), k=3) == (1.0, 1.0)


def test_disjoint_sets_have_neither_precision_nor_recall():
    real = np.random.default_rng(0).random((40, 6))
    assert precision_recall(real, real + 100.0, k=3) == (0.0, 0.0)


def test_a_dropped_mode_lowers_recall_only():
    draws = np.random.default_rng(0).random((80, 4))
    real = np.concatenate([draws[:40], draws[40:] + 100.0])
    assert precision_recall(real, draws[:40].copy(), k=3) == (1.0, 0.5)


def test_an_invented_mode_lowers_precision_only():
    draws = np.random.default_rng(0).random((80, 4))
    generated = np.concatenate([draws[:40], draws[40:] + 100.0])
    assert precision_recall(draws[:40].copy(), generated, k=3) == (0.5, 1.0)


def test_the_manifold_reaches_exactly_to_the_kth_other_neighbour():
    real = np.array([[0.0], [1.0], [3.0]])
    # for k = 1 the balls are [−1, 1], [0, 2] and [1, 5]; 0 to 5 is covered, ends included
    generated = np.array([[-1.0], [5.0], [-1.01], [5.01]])
    assert precision_recall(real, generated, k=1).precision == 0.5


@pytest.mark.parametrize("k", [0, 4])
def test_a_neighbour_that_does_not_exist_is_refused(k):
    with pytest.raises(DataError, match=f"no neighbour number {k}"):
        precision_recall(np.zeros((9, 2)), np.zeros((4, 2)), k=k)


def test_nearest_distance_is_euclidean_and_a_copy_is_exactly_zero_away():
    references = np.random.default_rng(0).random((30, 64))
    queries = np.concatenate([references[[7]], references[[7]] + 100.0])
    nearest = nearest_distances(queries, references)
    assert nearest[0] == 0.0
    assert nearest[1] == pytest.approx(np.linalg.norm(references - queries[1], axis=1).min())


@settings(max_examples=20, deadline=None)
@given(block_bytes=st.integers(1, 3000), seed=st.integers(0, 1000))
def test_the_size_of_blocks_changes_no_bit(block_bytes, seed):
    a, b = np.random.default_rng(seed).random((2, 23, 5))
    np.testing.assert_array_equal(nearest_distances(a, b, block_bytes), nearest_distances(a, b))
    assert precision_recall(a, b, 2, block_bytes) == precision_recall(a, b, 2)
