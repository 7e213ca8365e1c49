"""Noise schedules and samplers, every option written out: diffusers' defaults are made for pixels.

Clipping the predicted sample to [-1, 1], on by default there, ruins latents, which are not bounded. No sampler here
scales its input or its first noise: all of them keep the variance.
"""

from typing import Any, TypeAlias

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from rayograph.config import FlowSchedule, NoiseSchedule, Sampler

TrainingSchedule: TypeAlias = DDPMScheduler | FlowMatchEulerDiscreteScheduler
InferenceScheduler: TypeAlias = DDIMScheduler | DPMSolverMultistepScheduler | FlowMatchEulerDiscreteScheduler

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


def levels(schedule: TrainingSchedule) -> tuple[Tensor, Tensor, str]:
    """Of every timestep how much is left of the latents and how much noise there is, float32; and what is predicted.

    A flow is whole at 0 and noise alone at `num_train_timesteps`, which other schedules end before.
    """
    if isinstance(schedule, FlowMatchEulerDiscreteScheduler):
        last = schedule.config.num_train_timesteps
        noise = torch.arange(last + 1, dtype=torch.float32) / last
        return 1.0 - noise, noise, FLOW
    left = schedule.alphas_cumprod
    return left.sqrt(), (1.0 - left).sqrt(), schedule.config.prediction_type


def timesteps_at(schedule: TrainingSchedule, numbers: Tensor) -> Tensor:
    """The timesteps (b,) int64 that are `numbers` (b,) of all, in [0, num_train_timesteps): of a flow, as shifted."""
    if not isinstance(schedule, FlowMatchEulerDiscreteScheduler):
        return numbers
    last, shift = schedule.config.num_train_timesteps, schedule.config.shift
    share = (numbers + 1) / last
    return (shift * share / (1 + (shift - 1) * share) * last).round().long().clamp(min=1)


def build_sampler(
    schedule: TrainingSchedule, declared: Sampler, device: torch.device | str = "cpu"
) -> InferenceScheduler:
    """A sampler for a model trained with `schedule`, its steps set on `device`.

    DDIM (Song et al. 2021), which along a flow is Euler's method, or DPM-Solver++(2M) (Lu et al. 2022).
    """
    steps = declared.num_inference_steps
    if declared.scheduler == "ddim" and isinstance(schedule, FlowMatchEulerDiscreteScheduler):
        euler = FlowMatchEulerDiscreteScheduler.from_config(schedule.config)
        euler.set_timesteps(steps, device, sigmas=torch.linspace(1.0, 1.0 / steps, steps).tolist())
        return euler
    if declared.scheduler == "ddim":
        sampler = DDIMScheduler(
            **_diffusion(schedule.config),
            clip_sample=False,
            set_alpha_to_one=True,
            steps_offset=0,
            timestep_spacing="trailing",
        )
    else:
        sampler = DPMSolverMultistepScheduler(
            **_shared(schedule),
            algorithm_type="dpmsolver++",
            solver_order=2,
            solver_type="midpoint",
            lower_order_final=True,
            euler_at_final=False,
            use_karras_sigmas=False,
            final_sigmas_type="zero",
            timestep_spacing="trailing",
            steps_offset=0,
        )
    sampler.set_timesteps(steps, device=device)
    if isinstance(sampler, DPMSolverMultistepScheduler):
        sampler.set_begin_index(0)  # it would look for the first timestep, which a flow of many steps has twice
    return sampler


def _shared(schedule: TrainingSchedule) -> dict[str, Any]:
    if isinstance(schedule, FlowMatchEulerDiscreteScheduler):
        return {
            "num_train_timesteps": schedule.config.num_train_timesteps,
            "prediction_type": FLOW,
            "use_flow_sigmas": True,
            "flow_shift": schedule.config.shift,
            "thresholding": False,
        }
    return _diffusion(schedule.config)


def _diffusion(config: Any) -> dict[str, Any]:
    return {
        "num_train_timesteps": config.num_train_timesteps,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "beta_schedule": config.beta_schedule,
        "prediction_type": config.prediction_type,
        "rescale_betas_zero_snr": config.rescale_betas_zero_snr,
        "thresholding": False,
    }
