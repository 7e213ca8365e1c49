"""Diffusion targets and loss.

Shapes: b batch, z latent channels, y x latent grid.
"""

from typing import Any, Protocol, runtime_checkable

from rayograph.errors import ConfigError
from rayograph.shapes import Latents, Noise, Scalar, Timesteps


@runtime_checkable
class Schedule(Protocol):
    """What a target needs of a noise schedule."""

    config: Any

    def get_velocity(self, sample: Latents, noise: Noise, timesteps: Timesteps) -> Latents: ...


def diffusion_target(schedule: Schedule, latents: Latents, noise: Noise, timesteps: Timesteps) -> Latents:
    """What the denoiser is asked to predict (Ho et al. 2020, eq. 14; Salimans & Ho 2022, app. D)."""
    match schedule.config.prediction_type:
        case "epsilon":
            return noise
        case "v_prediction":
            return schedule.get_velocity(latents, noise, timesteps)
        case other:
            raise ConfigError(f"prediction_type: expected epsilon or v_prediction, got {other!r}")


def diffusion_loss(prediction: Latents, target: Latents) -> Scalar:
    """Mean squared error, every timestep alike (Ho et al. 2020, eq. 14)."""
    return (prediction - target).square().mean()
