"""Trained weights that a training starts from, under the names that its engine has for them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rayograph.conditioning.trained import load_conditioner
from rayograph.errors import ConfigError
from rayograph.models.model_folder import load_autoencoder, load_denoiser
from rayograph.runs.artifact import Artifact


def autoencoder_weights(artifact: Artifact) -> dict[str, Tensor]:
    """Load what a committed first stage is made of. Its discriminator is not kept: it starts afresh."""
    return _prefixed("autoencoder.", load_autoencoder(artifact))


def diffusion_weights(artifact: Artifact) -> dict[str, Tensor]:
    """Load what a committed diffusion model is made of, beside its first stage."""
    denoiser = load_denoiser(artifact)
    conditioner = load_conditioner(artifact, denoiser).network
    return _prefixed("denoiser.", denoiser) | _prefixed("conditioner.", conditioner)


def start_from(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put trained weights in the place of fresh ones, all of them.

    Raises ConfigError for the first, by name, that is of another shape, or that only one side has.
    """
    fresh = dict(network.named_parameters())
    for name in sorted(fresh.keys() | weights.keys()):
        expected, got = (tuple(side[name].shape) if name in side else None for side in (fresh, weights))
        if expected != got:
            raise ConfigError(f"init_from: {name}: expected {_described(expected)}, got {_described(got)}")
    with torch.no_grad():
        for name, weight in fresh.items():
            weight.copy_(weights[name])


def _prefixed(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}{name}": weight.detach() for name, weight in network.named_parameters()}


def _described(shape: tuple[int, ...] | None) -> str:
    return "no such weight" if shape is None else f"shape {shape}"
