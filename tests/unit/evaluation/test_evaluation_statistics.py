"""Moments of features, part by part."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayograph.errors import DataError
from rayograph.evaluation.distances import frechet_distance
from rayograph.evaluation.statistics import Moments, root


def merged(parts):
    return reduce(Moments.merged, parts, Moments.none())


def in_parts(features, sizes):
    return [Moments.of(part) for part in np.split(features, np.cumsum(sizes)[:-1])]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6), far=st.floats(0, 1e6))
def test_parts_merged_are_the_whole_even_far_from_zero(seed, sizes, far):
    features = np.random.default_rng(seed).normal(size=(sum(sizes), 3)) + far
    whole = merged(in_parts(features, sizes))
    assert whole.count == len(features)
    if len(features) > 1:
        np.testing.assert_allclose(whole.mean, features.mean(axis=0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(whole.covariance, np.cov(features, rowvar=False), rtol=1e-8, atol=1e-8)


def test_merging_follows_the_order_of_the_parts_alone():
    features = np.random.default_rng(0).random((100, 5)).astype(np.float32)
    parts = in_parts(features, [40, 0, 7, 53])
    again = in_parts(features, [40, 0, 7, 53])
    assert merged(parts).scatter.tobytes() == merged(again).scatter.tobytes()
    assert merged(parts).mean.tobytes() == merged(again).mean.tobytes()


def test_a_covariance_needs_two_images():
    with pytest.raises(DataError, match="got 1"):
        _ = Moments.of(np.ones((1, 2))).covariance


def test_the_root_of_a_covariance_squares_to_it_and_has_its_rank():
    features = np.random.default_rng(0).normal(size=(5, 40))
    covariance = Moments.of(features).covariance
    found = root(covariance)
    assert found.shape == (4, 40)
    np.testing.assert_allclose(found.T @ found, covariance, atol=1e-12)


@pytest.mark.parametrize(("of_a", "of_b", "size"), [(1000, 359, 64), (5, 40, 40), (100, 150, 400)])
def test_the_frechet_distance_from_moments_is_that_from_the_features_themselves(of_a, of_b, size):
    draws = np.random.default_rng(0).normal(size=(of_a + of_b, size))
    features = np.where(np.arange(size) % 7 == 0, 0.0, np.maximum(draws, 0.0))  # some are always nothing
    a, b = features[:of_a], features[of_a:] * 1.1 + 0.01
    parts = [merged(in_parts(of, [len(of) // 2, len(of) - len(of) // 2])) for of in (a, b)]
    assert frechet_distance(*parts) == pytest.approx(_from_features(a, b), abs=1e-9)


def _from_features(a, b):
    """By the triangular factors of the centred features, whose condition is never squared."""
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    root_a = np.linalg.qr((a - mean_a) / np.sqrt(len(a) - 1)).R
    root_b = np.linalg.qr((b - mean_b) / np.sqrt(len(b) - 1)).R
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    return np.square(mean_a - mean_b).sum() + np.square(root_a).sum() + np.square(root_b).sum() - 2 * cross
