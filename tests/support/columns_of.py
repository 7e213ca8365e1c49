"""Samples to whole columns, as tests compare them.

Shapes: n samples, h w pixels, z latent channels, y x latent grid.
"""

from collections.abc import Callable, Sequence

import numpy as np

from rayograph.ingest.columns import class_columns, from_npy, image_of
from rayograph.shards.pixels.decode import render
from rayograph.shards.pixels.frames import Frame, whole
from rayograph.shards.sample import Sample


def image_columns(samples: Sequence[Sample], choose: Callable[[int, int], Frame] = whole) -> dict[str, np.ndarray]:
    """`pixels` (n, h, w, 3) uint8 and, where every sample has a class, `classes` (n,) int64."""
    return {"pixels": np.stack([render(*image_of(sample), choose) for sample in samples])} | class_columns(samples)


def moments_columns(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """`moments` (n, 2z, y, x) and, where every sample has a class, `classes` (n,) int64."""
    return {"moments": np.stack([from_npy(s.members["npy"], s.key) for s in samples])} | class_columns(samples)
