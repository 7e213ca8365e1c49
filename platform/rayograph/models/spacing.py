"""The noise levels that a sampler visits: how many, which, and the timestep by which the denoiser knows each.

Of a diffusion they are timesteps that it was trained at, each once, with that timestep's own level: a level between two
would be told to the denoiser as one of them. A flow's timestep is its level, so any will do.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from torch import Tensor

from rayograph.config.job.schedules import Spacing
from rayograph.errors import ConfigError
from rayograph.models.schedule import TrainingSchedule, is_flow, noise_levels

WIDEST = 5.1
"""Of log-SNR, half the logarithm of α² / σ²: beyond, either way, is next to nothing left to find out. A schedule that
ends at noise alone, at minus infinity, or a flow could be divided evenly by no other bound.
"""
RHO = 7.0
"""Karras et al. 2022, sec. 3."""


@dataclass(frozen=True)
class Levels:
    """From noise downwards: `timesteps` as the denoiser takes them; α and σ of each. The clean image follows the last.

    int64 of a diffusion, float64 of a flow.
    """

    timesteps: Int64[np.ndarray, " s"] | Float64[np.ndarray, " s"]
    signal: Float64[np.ndarray, " s"]
    noise: Float64[np.ndarray, " s"]


def sampling_levels(schedule: TrainingSchedule, spacing: Spacing, steps: int) -> Levels:
    """Exactly `steps` levels, the first the noisiest. Raises ConfigError for more steps than there are timesteps."""
    total = schedule.config.num_train_timesteps
    if steps > total:
        raise ConfigError(f"num_inference_steps: expected at most {total}, the model's, got {steps}")
    if is_flow(schedule):
        noise = _flow_levels(total, schedule.config.shift, spacing, steps)
        return Levels(noise * total, 1.0 - noise, noise)
    signal, noise = (_array(values) for values in noise_levels(schedule))
    timesteps = _diffusion_timesteps(signal, noise, spacing, steps)
    return Levels(timesteps, signal[timesteps], noise[timesteps])


def _diffusion_timesteps(
    signal: Float64[np.ndarray, " t"], noise: Float64[np.ndarray, " t"], spacing: Spacing, steps: int
) -> Int64[np.ndarray, " s"]:
    total, left = len(signal), np.arange(steps, 0, -1)
    if spacing == "trailing":
        return np.round(total * left / steps).astype(np.int64) - 1
    with np.errstate(divide="ignore"):  # of noise alone, log-SNR is minus infinity
        log_snr = np.clip(np.log(signal / noise), -WIDEST, WIDEST)
    wanted = _even(log_snr[-1], log_snr[0], spacing, steps)
    nearest = np.round(np.interp(-wanted, -log_snr, np.arange(total))).astype(np.int64)
    nearest[0] = total - 1
    # Each timestep once. 1000 of them, wanted 999 700 1 0 0: room is left for those to come, 999 700 2 1 0, and where
    # two fall together the later one goes below: t[i] = min(t[i], t[i - 1] - 1) is a running minimum of t[i] + i.
    numbers = np.arange(steps)
    roomy = np.maximum(nearest, left - 1)
    found: np.ndarray = np.minimum.accumulate(roomy + numbers) - numbers
    return found


def _flow_levels(total: int, shift: float, spacing: Spacing, steps: int) -> Float64[np.ndarray, " s"]:
    """σ from 1 down to at least that of the least timestep that it was trained at."""
    if spacing == "trailing":
        return _shifted(np.arange(steps, 0, -1) / steps, shift)
    least = float(_shifted(np.array([1.0 / total]), shift)[0])
    cleanest = min(WIDEST, np.log((1.0 - least) / least)) if least < 1 else -WIDEST
    noise = 1.0 / (1.0 + np.exp(_even(-WIDEST, cleanest, spacing, steps)))
    noise[0] = 1.0
    return noise


def _shifted(share: np.ndarray, shift: float) -> np.ndarray:
    """Towards noise (Esser et al. 2024, eq. 23)."""
    shifted: np.ndarray = shift * share / (1.0 + (shift - 1.0) * share)
    return shifted


def _even(noisiest: float, cleanest: float, spacing: Spacing, steps: int) -> Float64[np.ndarray, " s"]:
    """Log-SNR of each step, both ends among them; of a single step the noisiest alone."""
    share = np.linspace(0.0, 1.0, steps)
    if spacing == "log_snr":
        return noisiest + share * (cleanest - noisiest)
    largest, smallest = np.exp(-noisiest / RHO), np.exp(-cleanest / RHO)
    even: np.ndarray = -RHO * np.log(largest + share * (smallest - largest))
    return even


def _array(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.numpy()
    return array
