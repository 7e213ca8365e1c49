"""Samplers: they end at the clean image, in as many steps as were asked for, and as exactly as their order says.

What is right is known here without any network: a model that knows the answer, and Gaussians of deviation S, whose
score is known and whose probability flow takes noise of deviation √(α² S² + σ²) to S, each value for itself.

Shapes: c step counts, s steps.
"""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from pydantic import ValidationError

from rayograph.config import FlowSchedule, NoiseSchedule, Sampler
from rayograph.errors import ConfigError
from rayograph.losses.diffusion_loss import ForwardProcess
from rayograph.models.schedule import build_schedule, levels, noise_levels, prediction_type, timesteps_at
from rayograph.models.spacing import sampling_levels
from rayograph.sampling.solvers import build_solver

SCHEDULERS = ["ddim", "dpmsolver++", "euler_ancestral"]
SPACINGS = ["log_snr", "karras", "trailing"]
PREDICTIONS = ["epsilon", "sample", "v_prediction"]
DECLARED = [
    *(NoiseSchedule(prediction_type=prediction) for prediction in PREDICTIONS),
    NoiseSchedule(prediction_type="v_prediction", zero_terminal_snr=True),
    NoiseSchedule(prediction_type="sample", zero_terminal_snr=True),
    FlowSchedule(),
    FlowSchedule(shift=3.0),
]
DIFFUSIONS = {
    "paper": NoiseSchedule(),
    "text": NoiseSchedule(beta_start=0.00085, beta_end=0.012),
    "linear": NoiseSchedule(beta_schedule="linear", beta_start=0.0001, beta_end=0.02),
    "cosine": NoiseSchedule(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"),
    "zero SNR": NoiseSchedule(prediction_type="v_prediction", zero_terminal_snr=True),
    "zero SNR, cosine": NoiseSchedule(
        beta_schedule="squaredcos_cap_v2", prediction_type="sample", zero_terminal_snr=True
    ),
}
DEVIATIONS = (0.1, 0.3, 0.6, 1.0, 2.0, 4.0)
DDIM_STEPS = (15, 50, 61, 64, 256, 501)


def level_at(schedule, timesteps):
    """α and σ of an array of timesteps, as training knows them."""
    if prediction_type(schedule) == "flow_prediction":
        share = timesteps.astype(np.float64) / schedule.config.num_train_timesteps
        return 1.0 - share, share
    signal, noise = (values.numpy() for values in noise_levels(schedule))
    return signal[timesteps], noise[timesteps]


def prediction_of(kind, latents, clean, signal, noise):
    """What the denoiser says where the clean latents are known."""
    match kind:
        case "sample":
            return clean
        case "epsilon":
            return (latents - signal * clean) / noise
        case "v_prediction":
            return signal * (latents - signal * clean) / noise - noise * clean
        case "flow_prediction":
            return (latents - signal * clean) / noise - clean


def sampled(schedule, sampler, latents, clean_of, fresh=None, stop=None):
    """Latents at the end, or before step `stop`; `clean_of` (latents, α, σ) is what the model sees behind them."""
    solver, kind = build_solver(schedule, sampler), prediction_type(schedule)
    earlier = None
    signals, noises = level_at(schedule, solver.timesteps.numpy())
    for step, (signal, noise) in enumerate(zip(signals.tolist(), noises.tolist(), strict=True)):
        if step == stop:
            break
        prediction = prediction_of(kind, latents, clean_of(latents, signal, noise), signal, noise)
        denoised = solver.denoised(step, latents, prediction)
        added = fresh(step) if solver.adds_noise(step) else None
        latents = solver.advance(step, latents, denoised, earlier, added)
        earlier = denoised
    return latents


def errors(declared, sampler, last_level=False):
    """(deviations,) relative: how much wider the samples of each Gaussian end than it is, or are at the last level."""
    schedule, wanted = build_schedule(declared), torch.tensor(DEVIATIONS, dtype=torch.float64)
    signals, noises = level_at(schedule, build_solver(schedule, sampler).timesteps.numpy())

    def width(signal, noise):
        return (signal**2 * wanted**2 + noise**2).sqrt()

    def clean_of(latents, signal, noise):
        return latents * signal * wanted**2 / width(signal, noise) ** 2

    start, stop = width(signals[0], noises[0]).reshape(1, 1, 1, -1), len(signals) - 1 if last_level else None
    end = sampled(schedule, sampler, start, clean_of, stop=stop).flatten()
    return (end / (width(signals[-1], noises[-1]) if last_level else wanted) - 1.0).numpy()


def shown(capsys, title, rows):
    """A table in the test run's output."""
    with capsys.disabled():
        print(f"\n{title}\n{'':34}" + "".join(f"{f'S = {wanted:g}':>10}" for wanted in DEVIATIONS))
        for name, values in rows.items():
            print(f"  {name:32}" + "".join(f"{value:>10.4f}" for value in values))


def every_walk(declared, scheduler, **options):
    """Ends (c,) of walks of every step count at once, from 3, by a model that knows the answer to be -2."""
    schedule = build_schedule(declared)
    kind, total = prediction_type(schedule), schedule.config.num_train_timesteps
    weights = np.zeros((total, total, 6))
    weights[..., 2] = 1.0  # before its first step a short loop stays where it is
    clean_at = np.ones((total, total), bool)
    signals, noises = np.ones((2, total, total))
    for row in range(total):
        solver = build_solver(schedule, Sampler(scheduler=scheduler, num_inference_steps=row + 1, **options))
        timesteps = solver.timesteps.numpy()
        assert len(timesteps) == row + 1 == len(solver.weights)
        assert (np.diff(timesteps) < 0).all()
        table = np.array([(*step.clean, *step[1:]) for step in solver.weights])
        weights[row, total - 1 - row :] = table
        clean_at[row, total - 1 - row :] = False
        signals[row, total - 1 - row :], noises[row, total - 1 - row :] = level_at(schedule, timesteps)
    latents, earlier, truth = np.full(total, 3.0), np.zeros(total), -2.0
    fresh = np.random.default_rng(0).standard_normal((total, total))
    for step in range(total):
        signal, noise, waits = signals[:, step], noises[:, step], clean_at[:, step]
        prediction = prediction_of(kind, latents, truth, signal, np.where(waits, 1.0, noise))
        of_latents, of_prediction, kept, of_denoised, of_earlier, of_noise = weights[:, step].T
        denoised = of_latents * latents + of_prediction * prediction
        latents = kept * latents + of_denoised * denoised + of_earlier * earlier + of_noise * fresh[step]
        earlier = denoised
    return latents


@pytest.mark.parametrize("declared", DECLARED, ids=repr)
def test_ddim_ends_at_the_clean_image_for_every_step_count_and_takes_exactly_those_steps(declared):
    np.testing.assert_allclose(every_walk(declared, "ddim"), -2.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("scheduler", "declared", "options"),
    [
        ("ddim", NoiseSchedule(), {"eta": 0.5}),
        ("ddim", FlowSchedule(shift=3.0), {"eta": 1.0, "spacing": "log_snr"}),
        ("euler_ancestral", NoiseSchedule(prediction_type="v_prediction", zero_terminal_snr=True), {}),
        ("dpmsolver++", NoiseSchedule(), {}),
        ("dpmsolver++", NoiseSchedule(prediction_type="sample", zero_terminal_snr=True), {"spacing": "karras"}),
        ("dpmsolver++", NoiseSchedule(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"), {}),
        ("dpmsolver++", FlowSchedule(), {}),
        ("dpmsolver++", FlowSchedule(shift=10.0), {"spacing": "log_snr"}),
    ],
    ids=repr,
)
def test_every_other_sampler_does_too(scheduler, declared, options):
    np.testing.assert_allclose(every_walk(declared, scheduler, **options), -2.0, rtol=1e-6)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("declared", DECLARED, ids=repr)
@pytest.mark.parametrize("steps", [1, 2, 15])
def test_a_perfect_denoiser_arrives_at_its_latents_however_large_they_are(scheduler, spacing, declared, steps):
    schedule = build_schedule(declared)
    sampler = Sampler(scheduler=scheduler, num_inference_steps=steps, spacing=spacing)
    truth = torch.linspace(-6.0, 6.0, 48).reshape(1, 3, 4, 4)  # clipping to [-1, 1] would show
    random = torch.Generator().manual_seed(0)
    start = torch.randn(1, 3, 4, 4, generator=random)
    found = sampled(schedule, sampler, start, lambda *_: truth, lambda _: torch.randn(1, 3, 4, 4, generator=random))
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", DDIM_STEPS)
def test_ddim_on_gaussians_is_its_closed_form(steps):
    declared, wanted = NoiseSchedule(), np.array(DEVIATIONS)
    signal, noise = level_at(build_schedule(declared), np.round(1000 * np.arange(steps, 0, -1) / steps).astype(int) - 1)
    ratio = noise / signal  # s; dx/ds = (x - D) / s with D = x S² / (S² + s²), by Euler's method
    variance = wanted[:, None] ** 2
    factors = (variance + ratio * [*ratio[1:], 0.0]) / (variance + ratio**2)
    expected = factors.prod(axis=1) * np.sqrt(wanted**2 + ratio[0] ** 2) / wanted - 1.0
    found = errors(declared, Sampler(scheduler="ddim", num_inference_steps=steps))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_ddim_is_of_first_order_and_no_further_off_than_that_makes_it(capsys):
    table = {}
    for spacing in ("trailing", "log_snr"):
        for steps in DDIM_STEPS:
            sampler = Sampler(scheduler="ddim", num_inference_steps=steps, spacing=spacing)
            table[f"{spacing}, {steps} steps"] = errors(NoiseSchedule(), sampler)
    shown(capsys, "DDIM on Gaussians of deviation S: relative error of the deviation", table)
    trailing = {steps: table[f"trailing, {steps} steps"] for steps in DDIM_STEPS}
    for few, many in ((15, 61), (64, 256), (50, 501)):
        order = np.log(trailing[few][3:] / trailing[many][3:]) / math.log(many / few)
        np.testing.assert_allclose(order, 1.0, atol=0.15)
    assert np.abs(trailing[501][2:]).max() < 0.01
    assert abs(trailing[256][3]) < 0.01
    # Of S = 1 a step turns latents by its own angle and shortens them by its cosine: at best cos(π / 2 s)^s is left.
    for steps in DDIM_STEPS:
        best = math.cos(math.pi / 2 / steps) ** steps - 1.0
        assert best - 0.05 < trailing[steps][3] < best


FINE = NoiseSchedule(num_train_timesteps=400_000, beta_start=0.0015 / 400, beta_end=0.0195 / 400)
"""The paper's schedule in timesteps so small that levels lie where they should."""


@pytest.mark.parametrize(("spacing", "few", "many"), [("log_snr", 80, 320), ("karras", 40, 160)])
def test_dpm_solver_is_of_second_order(capsys, spacing, few, many):
    """Down to the last level, from which a single step goes to the clean image however many there are."""
    counts = (20, 40, 80, 160, 320)
    found = {n: errors(FINE, Sampler(num_inference_steps=n, spacing=spacing), last_level=True) for n in counts}
    orders = np.log2(np.abs(found[few] / found[many])) / 2.0
    rows = {f"{n} steps": values for n, values in found.items()} | {f"order, from {few} to {many} steps": orders}
    shown(capsys, f"DPM-Solver++(2M), {spacing}: relative error of the deviation at the last level", rows)
    np.testing.assert_allclose(orders, 2.0, atol=0.25)


def test_dpm_solver_on_a_thousand_timesteps_is_as_exact_as_they_allow(capsys):
    counts = (10, 20, 40, 80, 160)
    found = {n: errors(NoiseSchedule(), Sampler(num_inference_steps=n)) for n in counts}
    shown(
        capsys,
        "DPM-Solver++(2M), log_snr: relative error of the deviation",
        {f"{n} steps": values for n, values in found.items()},
    )
    orders = np.log2(np.abs(found[20] / found[80])) / 2.0
    np.testing.assert_allclose(orders[3:], 2.0, atol=0.2)
    for n in counts[1:]:  # a deviation of 0.1 is not much more than the noise of the cleanest timestep, 0.04
        assert np.abs(found[n]).max() < 0.0105


def test_twenty_steps_of_dpm_solver_leave_gaussians_within_two_percent_of_their_width(capsys):
    rows = {name: errors(declared, Sampler()) for name, declared in DIFFUSIONS.items()}
    rows["flow"] = errors(FlowSchedule(), Sampler(spacing="log_snr"))
    rows["flow, shift 3"] = errors(FlowSchedule(shift=3.0), Sampler(spacing="log_snr"))
    others = {
        f"{spacing} (paper)": errors(NoiseSchedule(), Sampler(spacing=spacing)) for spacing in ("karras", "trailing")
    }
    others["trailing (flow)"] = errors(FlowSchedule(), Sampler())
    shown(capsys, "DPM-Solver++(2M), 20 steps, log_snr: relative error of the deviation", rows | others)
    for name, values in rows.items():
        assert np.abs(values).max() <= 0.02, name
    assert np.abs(others["karras (paper)"]).max() <= 0.04


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("options", [{"eta": 0.5}, {"eta": 1.0}, {"scheduler": "euler_ancestral"}], ids=repr)
def test_fresh_noise_keeps_a_gaussian_as_wide_as_it_is(options, spacing):
    """At any eta the marginals are the same (Song et al. 2021, theorem 1), the more exactly the more steps."""
    sampler = Sampler(**{"scheduler": "ddim", "num_inference_steps": 500, "spacing": spacing} | options)
    schedule, random, shape = build_schedule(NoiseSchedule()), torch.Generator().manual_seed(0), (1, 1, 200, 200)
    for wanted in (0.6, 1.0, 2.0):

        def clean_of(latents, signal, noise, variance=wanted**2):
            return latents * signal * variance / (signal**2 * variance + noise**2)

        start = torch.randn(shape, generator=random)
        end = sampled(schedule, sampler, start, clean_of, lambda _: torch.randn(shape, generator=random))
        assert end.std().item() / wanted == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [20, 50])
def test_ddim_is_diffusers_own_where_that_is_right(eta, steps):
    schedule = build_schedule(NoiseSchedule())
    theirs = DDIMScheduler.from_config(
        schedule.config, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"
    )
    theirs.set_timesteps(steps)
    solver = build_solver(schedule, Sampler(scheduler="ddim", num_inference_steps=steps, eta=eta))
    assert solver.timesteps.tolist() == theirs.timesteps.tolist()
    random = torch.Generator().manual_seed(0)
    ours = other = torch.randn(1, 3, 4, 4, generator=random)
    for step, timestep in enumerate(theirs.timesteps):
        prediction, fresh = torch.randn(2, 1, 3, 4, 4, generator=random)
        assert solver.adds_noise(step) == (eta > 0 and step < steps - 1)
        ours = solver.advance(step, ours, solver.denoised(step, ours, prediction), None, fresh)
        if step == steps - 1:
            fresh = torch.zeros_like(fresh)  # theirs has a rest of variance where nothing is left to add
        other = theirs.step(prediction, timestep, other, eta=eta, variance_noise=fresh).prev_sample
        torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_trailing_dpm_solver_is_diffusers_own(prediction):
    schedule = build_schedule(NoiseSchedule(prediction_type=prediction))
    theirs = DPMSolverMultistepScheduler.from_config(
        schedule.config, algorithm_type="dpmsolver++", final_sigmas_type="zero", timestep_spacing="trailing"
    )
    theirs.set_timesteps(15)
    solver = build_solver(schedule, Sampler(num_inference_steps=15, spacing="trailing"))
    assert solver.timesteps.tolist() == theirs.timesteps.tolist()
    random = torch.Generator().manual_seed(0)
    ours = other = torch.randn(1, 3, 4, 4, generator=random)
    earlier = None
    for step, timestep in enumerate(theirs.timesteps):
        prediction = torch.randn(1, 3, 4, 4, generator=random)
        denoised = solver.denoised(step, ours, prediction)
        ours, earlier = solver.advance(step, ours, denoised, earlier, None), denoised
        other = theirs.step(prediction, timestep, other).prev_sample
        torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_ddim_along_a_flow_is_eulers_method(shift):
    schedule = build_schedule(FlowSchedule(shift=shift))
    theirs = FlowMatchEulerDiscreteScheduler.from_config(schedule.config)
    theirs.set_timesteps(sigmas=torch.linspace(1.0, 0.1, 10).tolist())
    solver = build_solver(schedule, Sampler(scheduler="ddim", num_inference_steps=10))
    torch.testing.assert_close(solver.timesteps, theirs.timesteps)
    random = torch.Generator().manual_seed(0)
    ours = other = torch.randn(1, 3, 4, 4, generator=random)
    for step, timestep in enumerate(theirs.timesteps):
        prediction = torch.randn(1, 3, 4, 4, generator=random)
        ours = solver.advance(step, ours, solver.denoised(step, ours, prediction), None, None)
        other = theirs.step(prediction, timestep, other).prev_sample
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)


def test_ancestral_euler_is_karras_and_others_step_up_and_down():
    schedule = build_schedule(NoiseSchedule())
    solver = build_solver(schedule, Sampler(scheduler="euler_ancestral", num_inference_steps=10))
    signal, noise = level_at(schedule, solver.timesteps.numpy())
    ratio = noise / signal
    for step in range(9):
        here, there = ratio[step], ratio[step + 1]
        up = min(there, math.sqrt(there**2 * (here**2 - there**2) / here**2))
        down = math.sqrt(there**2 - up**2)
        weights = solver.weights[step]
        assert weights.noise == pytest.approx(signal[step + 1] * up, rel=1e-9)
        assert weights.latents == pytest.approx(signal[step + 1] * down / here / signal[step], rel=1e-9)
    assert solver.weights[9].noise == 0.0


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 20, 61, 1000])
@pytest.mark.parametrize("name", DIFFUSIONS)
def test_sampling_starts_at_the_noisiest_timestep_and_goes_down_through_whole_ones(spacing, steps, name):
    found = sampling_levels(build_schedule(DIFFUSIONS[name]), spacing, steps)
    assert found.timesteps.dtype == np.int64
    assert len(found.timesteps) == steps
    assert found.timesteps[0] == 999
    assert found.timesteps[-1] >= 0
    assert (np.diff(found.timesteps) < 0).all()


def test_log_snr_spacing_is_even_in_log_snr_and_reaches_the_cleanest_timestep():
    found = sampling_levels(build_schedule(NoiseSchedule()), "log_snr", 15)
    assert found.timesteps[-1] == 0
    steps = np.diff(np.log(found.signal / found.noise))
    assert steps.min() > 0.75 * steps.mean()
    assert steps.max() < 1.25 * steps.mean()


def test_a_spacing_of_none_is_what_suits_the_scheduler_and_the_schedule():
    assert Sampler().spacing_on(flow=False) == "log_snr"
    assert Sampler().spacing_on(flow=True) == "trailing"
    assert Sampler(scheduler="ddim").spacing_on(flow=False) == "trailing"
    assert Sampler(scheduler="euler_ancestral", spacing="karras").spacing_on(flow=True) == "karras"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"eta": 0.5}, "eta: expected 0 with 'dpmsolver\\+\\+', as only 'ddim' takes it, got 0.5"),
        ({"scheduler": "euler_ancestral", "eta": 1.0}, "eta: expected 0 with 'euler_ancestral'"),
        ({"scheduler": "ddim", "eta": 1.5}, "less than or equal to 1"),
        ({"scheduler": "ddim", "eta": -0.1}, "greater than or equal to 0"),
        ({"scheduler": "ddim", "eta": math.nan}, "eta"),
        ({"spacing": "linear"}, "spacing"),
    ],
)
def test_a_sampler_that_could_not_mean_anything_is_refused(given, line):
    with pytest.raises(ValidationError, match=line):
        Sampler(**given)


@pytest.mark.parametrize("declared", [NoiseSchedule(num_train_timesteps=50), FlowSchedule(num_train_timesteps=50)])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_more_steps_than_timesteps_are_refused(declared, scheduler):
    with pytest.raises(ConfigError, match="num_inference_steps: expected at most 50, the model's, got 51"):
        build_solver(build_schedule(declared), Sampler(scheduler=scheduler, num_inference_steps=51))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_flow_is_sampled_from_pure_noise_down_through_timesteps_it_was_trained_at(scheduler):
    for shift in (1.0, 3.0):
        schedule = build_schedule(FlowSchedule(shift=shift))
        drawn = timesteps_at(schedule, torch.arange(1000))
        for spacing in SPACINGS:
            sampler = Sampler(scheduler=scheduler, num_inference_steps=10, spacing=spacing)
            timesteps = build_solver(schedule, sampler).timesteps
            assert (timesteps.diff() < 0).all()
            assert timesteps[0] == 1000
            assert timesteps[-1] >= drawn[0] - 0.5
        assert drawn[0] == 1 if shift == 1 else drawn[0] <= 3
        assert drawn[-1] == 1000
        assert (drawn.diff() >= 0).all()
    assert drawn[499] == 750  # 3 · ½ / (1 + 2 · ½), Esser et al. 2024, eq. 23


def test_a_straight_flow_takes_one_step():
    solver = build_solver(build_schedule(FlowSchedule()), Sampler(scheduler="ddim", num_inference_steps=1))
    noise, truth = torch.randn(2, 1, 3, 4, 4)
    denoised = solver.denoised(0, noise, noise - truth)
    torch.testing.assert_close(solver.advance(0, noise, denoised, None, None), truth)


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_every_option_made_for_pixels_is_off(beta_schedule):
    config = build_schedule(NoiseSchedule(beta_schedule=beta_schedule)).config
    assert config["clip_sample"] is False
    assert config["thresholding"] is False


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_noise_levels_are_diffusers_own_in_double_precision(beta_schedule, zero_terminal_snr):
    declared = NoiseSchedule(
        beta_schedule=beta_schedule, prediction_type="v_prediction", zero_terminal_snr=zero_terminal_snr
    )
    schedule = build_schedule(declared)
    signal, noise = noise_levels(schedule)
    assert signal.dtype == noise.dtype == torch.float64
    torch.testing.assert_close(signal.square().float(), schedule.alphas_cumprod, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(signal.square() + noise.square(), torch.ones(1000, dtype=torch.float64))
    assert (noise.diff() > 0).all()
    if not zero_terminal_snr:  # σ² of the first timestep is its beta, which 1 - ᾱ in float32 keeps 4 digits of
        np.testing.assert_allclose(noise[0].item() ** 2, schedule.betas[0].item(), rtol=1e-9)


def test_with_zero_terminal_snr_the_last_timestep_is_noise_alone():
    schedule = build_schedule(NoiseSchedule(prediction_type="v_prediction", zero_terminal_snr=True))
    signal, noise, _ = levels(schedule)
    assert signal.dtype == torch.float32
    assert signal[-1] == 0.0
    assert noise[-1] == 1.0


def test_the_forward_process_keeps_variance_and_ends_near_pure_noise():
    schedule = build_schedule(NoiseSchedule())
    process = ForwardProcess(*levels(schedule))
    latents, noise = torch.full((1, 3, 4, 4), 2.0), torch.full((1, 3, 4, 4), -1.0)
    for timestep in (0, 300, 999):
        alpha = schedule.alphas_cumprod[timestep]
        found = process.noisy_latents(latents, noise, torch.tensor([timestep]))
        torch.testing.assert_close(found, alpha.sqrt() * latents + (1 - alpha).sqrt() * noise)
    assert (schedule.alphas_cumprod.diff() < 0).all()
    assert schedule.alphas_cumprod[-1] < 0.02
