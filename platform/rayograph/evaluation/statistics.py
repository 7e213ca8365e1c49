"""Count, mean and scatter of features: summed part by part, so that no set of images is ever held whole.

Parts are merged in their order (Chan, Golub & LeVeque 1979), in float64 and on one thread: who made them, and when,
changes no bit.

Shapes: n images, d features.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from threadpoolctl import threadpool_limits

from rayograph.errors import DataError


@dataclass(frozen=True)
class Moments:
    """`scatter` is the sum of (x − mean)(x − mean)ᵀ: the covariance before its division."""

    count: int
    mean: Float64[np.ndarray, " d"]
    scatter: Float64[np.ndarray, "d d"]

    @staticmethod
    def none() -> "Moments":
        """Of no image: of no dimension, as nothing need travel."""
        return Moments(0, np.zeros(0), np.zeros((0, 0)))

    @staticmethod
    def of(features: Float[np.ndarray, "n d"]) -> "Moments":
        """Of one part's features."""
        if not len(features):
            return Moments.none()
        exact = features.astype(np.float64, copy=False)
        mean = exact.mean(axis=0)
        centred = exact - mean
        with threadpool_limits(1):
            return Moments(len(exact), mean, centred.T @ centred)

    def root(covariance: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "r d"]:
    """R with RᵀR = S, as many rows as S has rank: what rounding leaves of nothing has no root of its own."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > max(0.0, float(values[-1])) * len(values) * np.finfo(np.float64).eps
    return np.sqrt(values[kept])[:, None] * vectors[:, kept].T
