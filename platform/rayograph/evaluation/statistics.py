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

    def merged(self, other: "Moments") -> "Moments":
        """Both parts together: S = Sa + Sb + δδᵀ·na·nb/n, with δ = μb − μa."""
        if not other.count:
            return self
        if not self.count:
            return other
        count = self.count + other.count
        apart = other.mean - self.mean
        between = np.outer(apart, apart * (self.count * other.count / count))
        return Moments(count, self.mean + apart * (other.count / count), self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """Unbiased. Raises DataError for less than two images."""
        if self.count < 2:
            raise DataError(f"covariance: expected at least 2 images in each set, got {self.count}")
        return self.scatter / (self.count - 1)


def root(covariance: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "r d"]:
    """R with RᵀR = S, as many rows as S has rank: what rounding leaves of nothing has no root of its own."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > max(0.0, float(values[-1])) * len(values) * np.finfo(np.float64).eps
    return np.sqrt(values[kept])[:, None] * vectors[:, kept].T
