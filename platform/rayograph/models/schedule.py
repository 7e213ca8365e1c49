"""Noise schedules, every option written out: diffusers' defaults are made for pixels.

Clipping the predicted sample to [-1, 1], on by default there, ruins latents, which are not bounded.
"""

from typing import TypeAlias

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from rayograph.config import FlowSchedule, NoiseSchedule

TrainingSchedule: TypeAlias = DDPMScheduler | FlowMatchEulerDiscreteScheduler

FLOW = "flow_prediction"
"""What diffusers calls the prediction type of a flow, whose own schedule says nothing of it."""


def build_schedule(declared: NoiseSchedule | FlowSchedule) -> TrainingSchedule:
    """The forward process as diffusers keeps it in a model's folder."""
    if isinstance(declared, FlowSchedule):
        return FlowMatchEulerDiscreteScheduler(
            num_train_timesteps=declared.num_train_timesteps,
            shift=declared.shift,
            use_dynamic_shifting=False,
            stochastic_sampling=False,
        )
    return DDPMScheduler(
        num_train_timesteps=declared.num_train_timesteps,
        beta_start=declared.beta_start,
        beta_end=declared.beta_end,
        beta_schedule=declared.beta_schedule,
        prediction_type=declared.prediction_type,
        rescale_betas_zero_snr=declared.zero_terminal_snr,
        thresholding=False,
        variance_type="fixed_small",
        clip_sample=False,
        timestep_spacing="trailing",
    )


def is_flow(schedule: TrainingSchedule) -> bool:
    """Whether it goes along straight lines."""
    return isinstance(schedule, FlowMatchEulerDiscreteScheduler)


def prediction_type(schedule: TrainingSchedule) -> str:
    """What the denoiser gives, in diffusers' words."""
    return FLOW if is_flow(schedule) else str(schedule.config.prediction_type)


def noise_levels(schedule: TrainingSchedule) -> tuple[Tensor, Tensor]:
    """Of every timestep how much is left of the latents and how much noise there is, float64.

    A flow is whole at 0 and noise alone at `num_train_timesteps`, which other schedules end before. diffusers' own
    products are of float32, whose rounding a nearly clean timestep shows: 1 - ᾱ is small there.
    """
    if is_flow(schedule):
        last = schedule.config.num_train_timesteps
        noise = torch.arange(last + 1, dtype=torch.float64) / last
        return 1.0 - noise, noise
    if not schedule.config.rescale_betas_zero_snr:
        left = torch.cumprod(1.0 - schedule.betas.double(), dim=0)
        return left.sqrt(), (1.0 - left).sqrt()
    config = schedule.config
    plain = DDPMScheduler(
        num_train_timesteps=config.num_train_timesteps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule=config.beta_schedule,
        trained_betas=config.trained_betas,
    )
    signal, _ = noise_levels(plain)
    signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])  # Lin et al. 2024, alg. 1
    return signal, (1.0 - signal.square()).sqrt()


def levels(schedule: TrainingSchedule) -> tuple[Tensor, Tensor, str]:
    """`noise_levels`, rounded to the float32 that training works in; and what is predicted."""
    signal, noise = noise_levels(schedule)
    return signal.float(), noise.float(), prediction_type(schedule)


def timesteps_at(schedule: TrainingSchedule, numbers: Tensor) -> Tensor:
    """The timesteps (b,) int64 that are `numbers` (b,) of all, in [0, num_train_timesteps): of a flow, as shifted."""
    if not isinstance(schedule, FlowMatchEulerDiscreteScheduler):
        return numbers
    last, shift = schedule.config.num_train_timesteps, schedule.config.shift
    share = (numbers + 1) / last
    return (shift * share / (1 + (shift - 1) * share) * last).round().long().clamp(min=1)
