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


class FidelitySums(NamedTuple):
    """What means over images are made of, part by part."""

    images: int = 0
    psnr: float = 0.0
    ssim: float = 0.0

    @staticmethod
    def of(real: UInt8[np.ndarray, "n h w 3"], reconstructed: UInt8[np.ndarray, "n h w 3"]) -> "FidelitySums":
        """Compare one part with its reconstructions, in the same order."""
        return FidelitySums(len(real), float(_psnr_of_each(real, reconstructed).sum()), _ssim_sum(real, reconstructed))

    @staticmethod
    def from_array(sums: np.ndarray) -> "FidelitySums":
        """Return what became an array of three numbers."""
        images, psnr, ssim = sums.tolist()
        return FidelitySums(int(images), psnr, ssim)

    def merged(self, other: "FidelitySums") -> "FidelitySums":
        """Both parts together."""
        return FidelitySums(self.images + other.images, self.psnr + other.psnr, self.ssim + other.ssim)

    @property
    def means(self) -> Fidelity | None:
        """Over all images; None of none."""
        return Fidelity(self.psnr / self.images, self.ssim / self.images) if self.images else None


def psnr(real: UInt8[np.ndarray, "n h w 3"], reconstructed: UInt8[np.ndarray, "n h w 3"]) -> float:
    """Mean over images of 10 log₁₀(255² / mean squared error), in decibels."""
    _check(real)
    return float(_psnr_of_each(real, reconstructed).mean())


def ssim(real: UInt8[np.ndarray, "n h w 3"], reconstructed: UInt8[np.ndarray, "n h w 3"]) -> float:
    """Mean structural similarity (Wang et al. 2004): Gaussian window of 11 pixels, σ = 1.5, K = (0.01, 0.03)."""
    _check(real)
    return _ssim_sum(real, reconstructed) / len(real)


def _psnr_of_each(real: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    errors = np.concatenate(
        [
            np.square(real[rows].astype(np.float64) - reconstructed[rows]).mean(axis=(1, 2, 3))
            for rows in _batches(len(real))
        ]
    )
    with np.errstate(divide="ignore"):  # a perfect image is infinitely good
        return 10.0 * np.log10(DATA_RANGE**2 / errors)


def _ssim_sum(real: np.ndarray, reconstructed: np.ndarray) -> float:
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
    return total


def _planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)


def _batches(count: int) -> list[slice]:
    return [slice(start, start + IMAGES_AT_ONCE) for start in range(0, count, IMAGES_AT_ONCE)]


def _check(real: np.ndarray) -> None:
    if not len(real):
        raise DataError("reconstruction: expected at least 1 image, got none")
