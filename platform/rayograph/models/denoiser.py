"""The second stage's network: noisy latents, timesteps and conditions to a prediction (Rombach et al. 2022, sec. 3.2).

Shapes: b batch, z latent channels, y x latent grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rayograph.config.job.denoisers import DenoiserKind
from rayograph.config.kinds import implementation
from rayograph.errors import ConfigError
from rayograph.models.conditioning import Conditioning
from rayograph.models.specs import DenoiserSpec
from rayograph.shapes import Latents, Timesteps


class DenoiserNetwork(nn.Module, ABC):
    """The seam: what every denoiser can do. One that is built of a declaration keeps it as `declared`."""

    spec: DenoiserSpec
    declared: DenoiserKind | None = None

    @abstractmethod
    def forward(self, noisy_latents: Latents, timesteps: Timesteps, conditioning: Conditioning) -> Latents:
        """Return the prediction: noise or velocity, as its schedule says."""

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in, and is given latents in."""
        return next(self.parameters()).dtype

    def accept_vector(self) -> None:
        """Get ready for a `Conditioning.vector`; those that take one or none as they are have nothing to do."""

    def take_class_embedding(self) -> dict[str, Tensor] | None:
        """Take the embedding of classes out of a network that has one within; None for one that has none."""
        return None

    def separable_parts(self) -> Sequence[nn.Module]:
        """Return the modules that are compiled, each by itself."""
        return (self,)

    def enable_gradient_checkpointing(self) -> None:
        """Compute activations again in the backward pass. Raises ConfigError where there is no such way."""
        raise ConfigError(f"training.activation_checkpointing: expected false, as {type(self).__name__} has none")


def build_denoiser(
    declared: DenoiserKind, latent_channels: int, latent_size: int, takes_vector: bool = False
) -> DenoiserNetwork:
    """Build a network with fresh weights. Raises ConfigError where it does not suit the latents, or takes no vector."""
    declared.require_grid(latent_size)
    denoiser: DenoiserNetwork = implementation(declared)(declared, latent_channels, latent_size)
    if takes_vector and denoiser.spec.accepts.vector is None:
        raise ConfigError(f"network: expected a denoiser that takes a vector of conditions, got {declared.kind}")
    if takes_vector:
        denoiser.accept_vector()
    return denoiser
