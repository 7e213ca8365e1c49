"""Noise schedules and samplers, every option written out: diffusers' defaults are made for pixels.

Clipping the predicted sample to [-1, 1], on by default there, ruins latents, which are not bounded.
"""

from typing import TypeAlias

from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from rayograph.config import NoiseSchedule, Sampler

TrainingSchedule: TypeAlias = DDPMScheduler
InferenceScheduler: TypeAlias = DDIMScheduler | DPMSolverMultistepScheduler


def build_schedule(declared: NoiseSchedule) -> DDPMScheduler:
    """The forward process: `add_noise`, `get_velocity` and `config.prediction_type` (Ho et al. 2020, eq. 4)."""
    return DDPMScheduler(
        **_shared(declared), variance_type="fixed_small", clip_sample=False, timestep_spacing="trailing"
    )


def build_sampler(schedule: DDPMScheduler, declared: Sampler) -> DDIMScheduler | DPMSolverMultistepScheduler:
    """A sampler for a model trained with `schedule`: DDIM (Song et al. 2021) or DPM-Solver++(2M) (Lu et al. 2022)."""
    config = schedule.config
    shared = _shared(
        NoiseSchedule(
            num_train_timesteps=config.num_train_timesteps,
            beta_schedule=config.beta_schedule,
            beta_start=config.beta_start,
            beta_end=config.beta_end,
            prediction_type=config.prediction_type,
        )
    )
    if declared.scheduler == "ddim":
        return DDIMScheduler(
            **shared, clip_sample=False, set_alpha_to_one=True, steps_offset=0, timestep_spacing="trailing"
        )
    return DPMSolverMultistepScheduler(
        **shared,
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


def _shared(declared: NoiseSchedule) -> dict[str, object]:
    return {
        "num_train_timesteps": declared.num_train_timesteps,
        "beta_start": declared.beta_start,
        "beta_end": declared.beta_end,
        "beta_schedule": declared.beta_schedule,
        "prediction_type": declared.prediction_type,
        "thresholding": False,
    }
