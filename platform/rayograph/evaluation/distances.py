"""Distances between two sets of images, each a matrix of features.

Shapes: n, m images; d features. Every distance is Euclidean, in the units of the features.

Distances between points come block by block, so that memory stays bounded whatever the number of images; and from
differences rather than from a matrix product, so that a copy is exactly 0 away and blocks change no bit.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from rayograph.errors import DataError
from rayograph.evaluation.statistics import Moments, root

BLOCK_BYTES = 64 * 2**20


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]: generated images that look real, and real images that can be generated."""

    precision: float
    recall: float


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two sets (Heusel et al. 2017, eq. 6).

    |μa − μb|² + tr(Sa + Sb − 2 (Sa Sb)^½). With S = RᵀR, the eigenvalues of Sa Sb are the squared singular values of
    Ra Rbᵀ, so the last trace is a sum of singular values: symmetric in a and b, never complex, and sound when a
    covariance is singular (pixels that are always black), where a matrix square root is not.
    """
    for moments in (a, b):
        if moments.count < 2:
            raise DataError(f"Fréchet distance: expected at least 2 images in each set, got {moments.count}")
    with threadpool_limits(1):
        root_a, root_b = root(a.covariance), root(b.covariance)
        cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    squared = np.square(a.mean - b.mean).sum() + np.square(root_a).sum() + np.square(root_b).sum() - 2.0 * cross
    return max(0.0, float(squared))  # rounding may leave two equal sets at −1e-16


def precision_recall(
    real: Float64[np.ndarray, "n d"],
    generated: Float64[np.ndarray, "m d"],
    k: int,
    block_bytes: int = BLOCK_BYTES,
) -> PrecisionRecall:
    """Overlap of two manifolds, each the balls to every point's k-th neighbour (Kynkäänniemi et al. 2019, eq. 1–2)."""
    for name, features in (("real", real), ("generated", generated)):
        if not 1 <= k < len(features):
            raise DataError(f"precision and recall: {len(features)} {name} images have no neighbour number {k}")
    return PrecisionRecall(
        precision=float(_covered(generated, real, _radii(real, k, block_bytes), block_bytes).mean()),
        recall=float(_covered(real, generated, _radii(generated, k, block_bytes), block_bytes).mean()),
    )


def nearest_distances(
    queries: Float64[np.ndarray, "n d"],
    references: Float64[np.ndarray, "m d"],
    block_bytes: int = BLOCK_BYTES,
) -> Float64[np.ndarray, " n"]:
    """Distance of every query to the reference nearest to it."""
    if not len(references):
        raise DataError("nearest distances: expected at least 1 reference image, got none")
    nearest = np.empty(len(queries))
    for rows, distances in _distance_blocks(queries, references, block_bytes):
        nearest[rows] = distances.min(axis=1)
    return nearest


def ranks_of(
    queries: Float64[np.ndarray, "n d"],
    references: Float64[np.ndarray, "m d"],
    wanted: Int[np.ndarray, " n"],
    block_bytes: int = BLOCK_BYTES,
) -> Int[np.ndarray, " n"]:
    """How many references lie nearer to each query than the one that it wants, by its row: 0 where none does.

    References at the same distance share a place: which of two equal ones was wanted, nobody could tell.
    """
    ranks = np.empty(len(queries), np.int64)
    for rows, distances in _distance_blocks(queries, references, block_bytes):
        own = np.take_along_axis(distances, wanted[rows, None], axis=1)
        ranks[rows] = (distances < own).sum(axis=1)
    return ranks


def within_class_variance(features: Float64[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> float:
    """Variance about the mean of its own class, summed over the features: the mean over all classes, each unbiased.

    Every class counts alike, however many images it has; one with a single image has no variance and is left out.
    Raises DataError where no class has two images.
    """
    sets = [features[labels == label] for label in np.unique(labels)]
    variances = [own.var(axis=0, ddof=1).sum() for own in sets if len(own) > 1]
    if not variances:
        raise DataError(f"variance within classes: expected a class of 2 images, got {len(features)} images, 1 each")
    return float(np.mean(variances))


def _radii(features: Float64[np.ndarray, "n d"], k: int, block_bytes: int) -> Float64[np.ndarray, " n"]:
    """Distance of every point to its k-th nearest other point."""
    radii = np.empty(len(features))
    for rows, distances in _distance_blocks(features, features, block_bytes):
        radii[rows] = np.partition(distances, k, axis=1)[:, k]  # place 0 is the point itself
    return radii


def _covered(
    queries: Float64[np.ndarray, "n d"],
    centres: Float64[np.ndarray, "m d"],
    radii: Float64[np.ndarray, " m"],
    block_bytes: int,
) -> Bool[np.ndarray, " n"]:
    """Whether each query lies in the ball of at least one centre."""
    covered = np.empty(len(queries), dtype=bool)
    for rows, distances in _distance_blocks(queries, centres, block_bytes):
        covered[rows] = (distances <= radii).any(axis=1)
    return covered


def _distance_blocks(
    queries: np.ndarray, references: np.ndarray, block_bytes: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of the (n, m) distance matrix, at most `block_bytes` of it at a time but always one row."""
    rows = max(1, block_bytes // (8 * len(references)))
    for start in range(0, len(queries), rows):
        block = slice(start, start + rows)
        yield block, cdist(queries[block], references)
