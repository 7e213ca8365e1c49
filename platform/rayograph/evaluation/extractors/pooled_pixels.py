"""Pixels averaged over areas: they need no weights file, and see shape and brightness at low resolution.

Shapes: n images, h w pixels, d features.
"""

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from rayograph.config.job.features import PooledPixels
from rayograph.errors import ConfigError, DataError
from rayograph.storage import Access


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


class PooledPixelExtractor:
    """Pooled pixels of one size."""

    resolution = None

    def __init__(self, declared: PooledPixels, device: str = "cpu", access: Access = None) -> None:
        """`device` and `access` are every extractor's; this one needs neither."""
        self._declared = declared
        self.name = f"{'grey' if declared.grey else 'RGB'} pixels pooled to {declared.size}×{declared.size}"
        self.dimension = declared.size**2 * (1 if declared.grey else 3)

    def __call__(self, pixels: UInt8[Tensor, "b h w 3"]) -> Float64[Tensor, "b d"]:
        return torch.from_numpy(pooled_pixels(pixels.numpy(), self._declared.size, self._declared.grey))
