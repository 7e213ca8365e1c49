"""Samples to arrays: what a batch is made of.

Shapes: n samples, h w pixels, z latent channels, y x latent grid.
"""

import io
from collections.abc import Sequence

import numpy as np

from rayograph.errors import DataError
from rayograph.shards.images import pixels_of
from rayograph.shards.sample import Sample


def image_columns(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """`pixels` (n, h, w, 3) uint8 and, where every sample has a class, `classes` (n,) int64."""
    return {"pixels": np.stack([pixels_of(s.members["png"], s.key) for s in samples])} | _classes(samples)


def moments_columns(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """`moments` (n, 2z, y, x) float32 and, where every sample has a class, `classes` (n,) int64."""
    return {"moments": np.stack([from_npy(s.members["npy"], s.key) for s in samples])} | _classes(samples)


def to_npy(array: np.ndarray) -> bytes:
    """NumPy's own file format."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def from_npy(data: bytes, name: str) -> np.ndarray:
    """Raises DataError naming the sample for anything but a plain array."""
    try:
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # whatever a foreign file does to a reader, the answer is one line
        raise DataError(f"{name}: expected a plain .npy array: {error}") from error


def _classes(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    if not all("cls" in sample.members for sample in samples):
        return {}
    return {"classes": np.array([_class(sample) for sample in samples], np.int64)}


def _class(sample: Sample) -> int:
    try:
        return int(sample.members["cls"])
    except ValueError:
        raise DataError(f"{sample.key}: expected a class's number, got {sample.members['cls'][:40]!r}") from None
