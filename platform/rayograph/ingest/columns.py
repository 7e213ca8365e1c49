"""Samples to arrays: what a batch is made of.

Shapes: n samples, h w pixels, z latent channels, y x latent grid.
"""

import io
from collections.abc import Sequence

import numpy as np

from rayograph.conditioning.class_label import class_of
from rayograph.errors import DataError
from rayograph.shards.pixels.decode import EXTENSIONS
from rayograph.shards.sample import Sample


def class_columns(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """`classes` (n,) int64 where every sample has one; otherwise nothing."""
    if not all("cls" in sample.members for sample in samples):
        return {}
    return {"classes": np.array([class_of(sample) for sample in samples], np.int64)}


def image_of(sample: Sample) -> tuple[bytes, str]:
    """A sample's image and key. Raises DataError naming a sample that has none."""
    for extension in EXTENSIONS:
        if extension in sample.members:
            return sample.members[extension], sample.key
    raise DataError(f"{sample.key}: expected an image ({', '.join(EXTENSIONS)}), got {', '.join(sample.members)}")


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


def npy_header(data: bytes, name: str) -> tuple[bytes, np.dtype, tuple[int, ...]]:
    """The bytes before the numbers, and the numbers' type and shape. Raises DataError as `from_npy` does."""
    array = from_npy(data, name)
    return data[: len(data) - array.nbytes], array.dtype, array.shape
