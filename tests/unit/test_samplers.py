"""Noise schedules and samplers: made for latents, and exact where the denoiser is."""

import pytest
import torch

from rayograph.config import FlowSchedule, NoiseSchedule, Sampler
from rayograph.losses.diffusion import ForwardProcess
from rayograph.models.schedule import build_sampler, build_schedule, levels, timesteps_at

SCHEDULERS = ["ddim", "dpmsolver++"]
PREDICTIONS = ["epsilon", "sample", "v_prediction"]
DECLARED = [
    *(NoiseSchedule(prediction_type=prediction) for prediction in PREDICTIONS),
    NoiseSchedule(prediction_type="v_prediction", zero_terminal_snr=True),
    NoiseSchedule(prediction_type="sample", zero_terminal_snr=True),
    FlowSchedule(),
    FlowSchedule(shift=3.0),
]


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
    sampler = build_sampler(build_schedule(NoiseSchedule()), Sampler(scheduler=scheduler, num_inference_steps=steps))
    assert len(sampler.timesteps) == steps
    assert sampler.timesteps[0] == 999
    assert (sampler.timesteps.diff() < 0).all()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("declared", DECLARED, ids=repr)
@pytest.mark.parametrize("steps", [1, 4, 20])
def test_a_perfect_denoiser_arrives_at_its_latents_however_large_they_are(scheduler, declared, steps):
    schedule = build_schedule(declared)
    process = ForwardProcess(*levels(schedule))
    sampler = build_sampler(schedule, Sampler(scheduler=scheduler, num_inference_steps=steps))
    assert len(sampler.timesteps) == steps
    truth = torch.linspace(-6.0, 6.0, 48).reshape(1, 3, 4, 4)  # clipping to [-1, 1] would show
    latents = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for timestep in sampler.timesteps:
        here = timestep.round().long().reshape(1)
        noise = (latents - process.signal[here] * truth) / process.noise[here]
        latents = sampler.step(process.target(truth, noise, here), timestep, latents).prev_sample
    # The solver's first step along a flow begins a thousandth before pure noise, which these latents are.
    torch.testing.assert_close(latents, truth, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_flow_is_sampled_from_pure_noise_down_through_timesteps_it_was_trained_at(scheduler):
    for shift in (1.0, 3.0):
        schedule = build_schedule(FlowSchedule(shift=shift))
        sampler = build_sampler(schedule, Sampler(scheduler=scheduler, num_inference_steps=10))
        assert (sampler.timesteps.diff() < 0).all()
        assert 998 <= sampler.timesteps[0] <= 1000
        drawn = timesteps_at(schedule, torch.arange(1000))
        assert drawn[0] == 1 if shift == 1 else drawn[0] <= 3
        assert drawn[-1] == 1000
        assert (drawn.diff() >= 0).all()
    assert drawn[499] == 750  # 3 · ½ / (1 + 2 · ½), Esser et al. 2024, eq. 23


@pytest.mark.parametrize("steps", [200, 1000])
def test_a_flow_whose_timesteps_fall_together_is_walked_to_its_end(steps):
    schedule = build_schedule(FlowSchedule(shift=10.0))
    sampler = build_sampler(schedule, Sampler(scheduler="dpmsolver++", num_inference_steps=steps))
    latents = torch.zeros(1, 3, 4, 4)
    for timestep in sampler.timesteps:
        latents = sampler.step(torch.zeros_like(latents), timestep, latents).prev_sample
    assert sampler.step_index == steps


def test_a_straight_flow_takes_one_step():
    schedule = build_schedule(FlowSchedule())
    sampler = build_sampler(schedule, Sampler(scheduler="ddim", num_inference_steps=1))
    noise, truth = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    found = sampler.step(noise - truth, sampler.timesteps[0], noise).prev_sample
    torch.testing.assert_close(found, truth)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_with_zero_terminal_snr_the_last_timestep_is_noise_alone(scheduler):
    schedule = build_schedule(NoiseSchedule(prediction_type="v_prediction", zero_terminal_snr=True))
    signal, noise, _ = levels(schedule)
    assert signal[-1] < 1e-3
    assert noise[-1] == pytest.approx(1.0)
    sampler = build_sampler(schedule, Sampler(scheduler=scheduler))
    torch.testing.assert_close(sampler.alphas_cumprod, schedule.alphas_cumprod)


def test_the_forward_process_keeps_variance_and_ends_near_pure_noise():
    schedule = build_schedule(NoiseSchedule())
    latents, noise = torch.full((1, 3, 4, 4), 2.0), torch.full((1, 3, 4, 4), -1.0)
    for timestep in (0, 300, 999):
        alpha = schedule.alphas_cumprod[timestep]
        found = schedule.add_noise(latents, noise, torch.tensor([timestep]))
        torch.testing.assert_close(found, alpha.sqrt() * latents + (1 - alpha).sqrt() * noise)
    assert (schedule.alphas_cumprod.diff() < 0).all()
    assert schedule.alphas_cumprod[-1] < 0.02
