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
from rayograph.models.specs import DenoiserSpec, Ways
from rayograph.shapes import Latents, Timesteps

UNTOLD = Ways()
"""What is given where nothing is said of a sample."""


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
    declared: DenoiserKind, latent_channels: int, latent_size: int, gives: Ways = UNTOLD
) -> DenoiserNetwork:
    """Build a network with fresh weights, for what its conditioner gives.

    Raises ConfigError, naming the field, where it does not suit the latents, has no way in for something that is given,
    or has one that nothing is given for; a vector may always be left out.
    """
    declared.require_grid(latent_size)
    declared.require_ways(gives)
    denoiser: DenoiserNetwork = implementation(declared)(declared, latent_channels, latent_size, gives)
    takes = denoiser.spec.accepts.ways
    if gives.vector and not takes.vector:
        raise ConfigError(f"kind: expected a denoiser that takes a vector of conditions, got {declared.kind!r}")
    if gives.cross_attention != takes.cross_attention:
        expected = "attends to its conditioner's tokens" if gives.cross_attention else "needs no tokens to attend to"
        raise ConfigError(f"kind: expected a denoiser that {expected}, got {declared.kind!r}")
    if gives.concat != takes.concat:
        beside = f"{gives.concat} channels of conditions beside the latents'"
        raise ConfigError(f"kind: expected a denoiser that takes {beside}, got {declared.kind!r} with {takes.concat}")
    return denoiser
