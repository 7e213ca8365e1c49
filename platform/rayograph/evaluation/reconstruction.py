"""How much of an image its autoencoder gives back.

Shapes: n images, h w pixels. Means are over images, as the literature reports them, never over pooled pixels.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torchmetrics.functional.image import structural_similarity_index_measure

from rayograph.errors import DataError

DATA_RANGE = 255.0
SSIM_WINDOW = 11
IMAGES_AT_ONCE = 128  # bounds memory: SSIM holds five filtered copies of what it compares


class Fidelity(NamedTuple):
    """Mean PSNR in decibels (infinite when an image comes back bit for bit) and mean SSIM in [-1, 1]."""

    psnr: float
    ssim: float


def fidelity(real: UInt8[np.ndarray, "n h w 3"], reconstructed: UInt8[np.ndarray, "n h w 3"]) -> Fidelity:
    """PSNR and SSIM of reconstructions against the images they come from, in the same order."""
    return Fidelity(psnr(real, reconstructed), ssim(real, reconstructed))


def psnr(real: UInt8[np.ndarray, "n h w 3"], reconstructed: UInt8[np.ndarray, "n h w 3"]) -> float:
    """Mean over images of 10 log₁₀(255² / mean squared error), in decibels."""
    _check(real)
    errors = np.concatenate(
        [
            np.square(real[rows].astype(np.float64) - reconstructed[rows]).mean(axis=(1, 2, 3))
            for rows in _batches(len(real))
        ]
    )
    with np.errstate(divide="ignore"):  # a perfect image is infinitely good
        return float(np.mean(10.0 * np.log10(DATA_RANGE**2 / errors)))


def ssim(real: UInt8[np.ndarray, "n h w 3"], reconstructed: UInt8[np.ndarray, "n h w 3"]) -> float:
    """Mean structural similarity (Wang et al. 2004): Gaussian window of 11 pixels, σ = 1.5, K = (0.01, 0.03)."""
    _check(real)
    if min(real.shape[1:3]) < SSIM_WINDOW:
        height, width = real.shape[1:3]
        raise DataError(f"SSIM: expected images of at least {SSIM_WINDOW} pixels a side, got {height}×{width}")
    total = 0.0
    for rows in _batches(len(real)):
        similarity = structural_similarity_index_measure(
            _planes(reconstructed[rows]),
            _planes(real[rows]),
            kernel_size=SSIM_WINDOW,
            sigma=1.5,
            data_range=DATA_RANGE,
            reduction="sum",
        )
        total += float(similarity)
    return total / len(real)


def _planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)


def _batches(count: int) -> list[slice]:
    return [slice(start, start + IMAGES_AT_ONCE) for start in range(0, count, IMAGES_AT_ONCE)]


def _check(real: np.ndarray) -> None:
    if not len(real):
        raise DataError("reconstruction: expected at least 1 image, got none")
