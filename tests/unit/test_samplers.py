"""Noise schedules and samplers: made for latents, and exact where the denoiser is."""

import pytest
import torch

from rayograph.config import NoiseSchedule, Sampler
from rayograph.models.schedule import build_sampler, build_schedule

SCHEDULERS = ["ddim", "dpmsolver++"]
PREDICTIONS = ["epsilon", "v_prediction"]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_every_option_made_for_pixels_is_off(scheduler, beta_schedule):
    schedule = build_schedule(NoiseSchedule(beta_schedule=beta_schedule))
    sampler = build_sampler(schedule, Sampler(scheduler=scheduler))
    for config in (schedule.config, sampler.config):
        assert config.get("clip_sample", False) is False
        assert config["thresholding"] is False
    assert schedule.config["clip_sample"] is False


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_sampler_takes_noise_and_prediction_from_the_training_schedule(scheduler, prediction):
    declared = NoiseSchedule(num_train_timesteps=500, beta_start=0.001, beta_end=0.03, prediction_type=prediction)
    schedule = build_schedule(declared)
    sampler = build_sampler(schedule, Sampler(scheduler=scheduler))
    torch.testing.assert_close(sampler.alphas_cumprod, schedule.alphas_cumprod)
    assert sampler.config.prediction_type == prediction


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 20, 1000])
def test_sampling_starts_at_the_noisiest_timestep_and_goes_down(scheduler, steps):
    sampler = build_sampler(build_schedule(NoiseSchedule()), Sampler(scheduler=scheduler))
    sampler.set_timesteps(steps)
    assert len(sampler.timesteps) == steps
    assert sampler.timesteps[0] == 999
    assert (sampler.timesteps.diff() < 0).all()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 4, 20])
def test_a_perfect_denoiser_arrives_at_its_latents_however_large_they_are(scheduler, prediction, steps):
    schedule = build_schedule(NoiseSchedule(prediction_type=prediction))
    sampler = build_sampler(schedule, Sampler(scheduler=scheduler))
    sampler.set_timesteps(steps)
    truth = torch.linspace(-6.0, 6.0, 48).reshape(1, 3, 4, 4)  # clipping to [-1, 1] would show
    latents = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * sampler.init_noise_sigma
    for timestep in sampler.timesteps:
        alpha = schedule.alphas_cumprod[timestep]
        noise = (latents - alpha.sqrt() * truth) / (1 - alpha).sqrt()
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * truth
        model_input = sampler.scale_model_input(latents, timestep)
        assert torch.equal(model_input, latents)  # the denoiser was trained on these
        prediction_here = noise if prediction == "epsilon" else velocity
        latents = sampler.step(prediction_here, timestep, latents).prev_sample
    torch.testing.assert_close(latents, truth, rtol=1e-3, atol=2e-3)


def test_the_forward_process_keeps_variance_and_ends_near_pure_noise():
    schedule = build_schedule(NoiseSchedule())
    latents, noise = torch.full((1, 3, 4, 4), 2.0), torch.full((1, 3, 4, 4), -1.0)
    for timestep in (0, 300, 999):
        alpha = schedule.alphas_cumprod[timestep]
        found = schedule.add_noise(latents, noise, torch.tensor([timestep]))
        torch.testing.assert_close(found, alpha.sqrt() * latents + (1 - alpha).sqrt() * noise)
    assert (schedule.alphas_cumprod.diff() < 0).all()
    assert schedule.alphas_cumprod[-1] < 0.02
