"""Scaled latents: what the denoiser sees has mean 0 and standard deviation 1 in every channel.

The paper divides by one number (Rombach et al. 2022, app. G); one a channel is the same idea, and diffusers'
autoencoder configuration has a place for it, so that a model folder is complete in itself.

Shapes: b batch, z latent channels, y x latent grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from rayograph.errors import CheckpointError
from rayograph.models.autoencoder import AutoencoderNetwork, moments_of
from rayograph.shapes import Images, Latents


@dataclass(frozen=True)
class LatentNormalisation:
    """Per-channel mean and standard deviation of raw latents over a data set."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalise(self, raw_latents: Latents) -> Latents:
        return (raw_latents - _column(self.mean, raw_latents)) / _column(self.std, raw_latents)

    def denormalise(self, latents: Latents) -> Latents:
        return latents * _column(self.std, latents) + _column(self.mean, latents)

    def encode(self, autoencoder: AutoencoderNetwork, images: Images) -> Latents:
        """Return images' latents, by the posterior's mean."""
        return self.normalise(moments_of(autoencoder, images).chunk(2, dim=1)[0])

    def keep_in(self, autoencoder: AutoencoderNetwork) -> None:
        """Write the scale into the autoencoder's spec, to be saved with it."""
        autoencoder.spec = replace(autoencoder.spec, latents_mean=self.mean, latents_std=self.std)

    @staticmethod
    def mixed(scales: Sequence["LatentNormalisation"], weights: Sequence[float]) -> "LatentNormalisation":
        """Of several data sets, mixed by weight: the mixture's own mean and standard deviation."""
        shares = np.array(weights)[:, None] / np.sum(weights)
        means, deviations = np.array([scale.mean for scale in scales]), np.array([scale.std for scale in scales])
        mean = (shares * means).sum(axis=0)
        deviation = np.sqrt((shares * (deviations**2 + (means - mean) ** 2)).sum(axis=0))
        return LatentNormalisation(tuple(mean.tolist()), tuple(deviation.tolist()))

    @staticmethod
    def kept_in(autoencoder: AutoencoderNetwork) -> "LatentNormalisation":
        """Raises CheckpointError for an autoencoder without one."""
        mean, std = autoencoder.spec.latents_mean, autoencoder.spec.latents_std
        if mean is None or std is None:
            raise CheckpointError("autoencoder: expected latents_mean and latents_std in its configuration, found none")
        return LatentNormalisation(mean, std)


def _column(values: tuple[float, ...], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[None, :, None, None]
