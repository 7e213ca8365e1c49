"""Feature spaces: where distances between images are taken.

Shapes: n images, h w pixels, d features.

Fréchet distances, precision and recall mean nothing without the space they were measured in, so a space states its
name and the report prints it. Pooled pixels need no weights file; they see shape and brightness at low resolution.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from rayograph.errors import ConfigError, DataError


def pooled_pixels(pixels: UInt8[np.ndarray, "n h w 3"], size: int, grey: bool) -> Float64[np.ndarray, "n d"]:
    """Images averaged over areas down to size×size: values in [0, 1], d = size² when grey, else 3·size².

    Grey is the plain mean of the three channels.
    """
    if size < 1:
        raise ConfigError(f"feature size: expected at least 1, got {size}")
    count, height, width, channels = pixels.shape
    if height % size or width % size:
        raise DataError(f"images of {height}×{width} pixels: cannot be averaged to {size}×{size} areas of equal size")
    areas = pixels.reshape(count, size, height // size, size, width // size, channels)
    # numpy casts in small buffers here: the images never exist as float64 all at once
    pooled = areas.mean(axis=(2, 4), dtype=np.float64) / 255.0
    if grey:
        pooled = pooled.mean(axis=-1)
    return pooled.reshape(count, -1)


@dataclass(frozen=True)
class FeatureSpace:
    """Pooled pixels of one size, with the name by which reports call them."""

    size: int = 8
    grey: bool = True

    @property
    def name(self) -> str:
        return f"{'grey' if self.grey else 'RGB'} pixels pooled to {self.size}×{self.size}"

    def __call__(self, pixels: UInt8[np.ndarray, "n h w 3"]) -> Float64[np.ndarray, "n d"]:
        return pooled_pixels(pixels, self.size, self.grey)
