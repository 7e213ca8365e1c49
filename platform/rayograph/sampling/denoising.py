"""From noise to images: the denoising loop with classifier-free guidance.

Shapes: b batch, z latent channels, y x latent grid, h w pixels, s kept steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rayograph.config import Sampler
from rayograph.models.autoencoder import decode, to_pixels
from rayograph.models.denoiser import denoise, null_class
from rayograph.models.folder import load_autoencoder, load_denoiser, load_schedule
from rayograph.models.scaling import LatentScale
from rayograph.models.schedule import build_sampler
from rayograph.runs.artifact import Artifact
from rayograph.runs.draws import Stream, normal
from rayograph.shapes import Classes, Latents, Positions


@dataclass(frozen=True)
class DiffusionModel:
    """A trained model, ready to draw: all that a committed model folder holds."""

    denoiser: Any
    autoencoder: Any
    schedule: Any
    latent_scale: LatentScale
    device: torch.device

    @staticmethod
    def load(artifact: Artifact, device: str) -> "DiffusionModel":
        """Raises CheckpointError for a folder that is not whole."""
        autoencoder = load_autoencoder(artifact).to(device)
        scale = LatentScale.kept_in(autoencoder)
        return DiffusionModel(
            load_denoiser(artifact).to(device), autoencoder, load_schedule(artifact), scale, torch.device(device)
        )

    @property
    def num_classes(self) -> int:
        """0 for a model without conditions."""
        embeddings = self.denoiser.config.num_class_embeds
        return embeddings - 1 if embeddings else 0

    @torch.inference_mode()
    def draw(
        self, seed: int, numbers: Positions, classes: Classes | None, sampler: Sampler, keep_steps: Sequence[int] = ()
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Pixels (b, h, w, 3) uint8 of the samples `numbers`, and of the noisy latents before each of `keep_steps`.

        Noise comes from (seed, number), so a sample does not depend on the batch it is drawn in beyond rounding.
        """
        size = self.denoiser.config.sample_size
        shape = (self.denoiser.config.in_channels, size, size)
        latents = normal(seed, Stream.SAMPLE_NOISE, numbers.to(self.device), shape)
        scheduler = build_sampler(self.schedule, sampler, self.device)
        classes = None if classes is None else classes.to(self.device)
        kept = []
        for step, timestep in enumerate(scheduler.timesteps):
            if step in keep_steps:
                kept.append(self._pixels(latents))
            prediction = self._guided(latents, timestep, classes, sampler.guidance_scale)
            latents = scheduler.step(prediction, timestep, latents).prev_sample
        return self._pixels(latents), kept

    def _guided(self, latents: Latents, timestep: torch.Tensor, classes: Classes | None, scale: float) -> Latents:
        """unconditional + scale × (conditional - unconditional) (Ho & Salimans 2022, eq. 6, in the field's scale)."""
        timesteps = timestep.expand(len(latents))
        if classes is None or scale == 1.0:
            return denoise(self.denoiser, latents, timesteps, classes)
        nulls = torch.full_like(classes, null_class(self.denoiser))
        both = denoise(self.denoiser, latents.repeat(2, 1, 1, 1), timesteps.repeat(2), torch.cat([classes, nulls]))
        conditional, unconditional = both.chunk(2)
        return unconditional + scale * (conditional - unconditional)

    def _pixels(self, latents: Latents) -> torch.Tensor:
        return to_pixels(decode(self.autoencoder, self.latent_scale.unscale(latents)))
