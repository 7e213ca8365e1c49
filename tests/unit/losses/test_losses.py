"""Losses against their closed forms."""

import pytest
import torch

from rayograph.config import Denoiser, DiffusionLoss, FlowSchedule, NoiseSchedule, TrainDiffusion
from rayograph.errors import ConfigError
from rayograph.losses.adversarial import adaptive_weight, discriminator_loss, generator_loss
from rayograph.losses.diffusion_loss import ForwardProcess, diffusion_loss
from rayograph.losses.reconstruction_loss import codebook_loss, kl_loss, reconstruction_loss
from rayograph.models.schedule import build_schedule, levels


def random(*shape):
    return torch.randn(shape)


def moments(mean, logvar, shape=(2, 3, 4, 4)):
    return torch.cat([torch.full(shape, mean), torch.full(shape, logvar)], dim=1)


def test_the_kl_divergence_of_a_standard_normal_is_zero():
    assert kl_loss(moments(0.0, 0.0)) == 0.0


@pytest.mark.parametrize(("mean", "logvar"), [(1.0, 0.0), (-2.0, 1.0), (0.3, -4.0)])
def test_the_kl_divergence_is_that_of_normals_summed_over_an_image(mean, logvar):
    std = torch.tensor(logvar / 2).exp()
    one = torch.distributions.kl_divergence(torch.distributions.Normal(mean, std), torch.distributions.Normal(0.0, 1.0))
    assert kl_loss(moments(mean, logvar)) == pytest.approx(float(one) * 3 * 4 * 4, rel=1e-5)


def test_the_kl_divergence_is_smallest_at_the_standard_normal():
    at = moments(0.0, 0.0).requires_grad_()
    kl_loss(at).backward()
    assert torch.equal(at.grad, torch.zeros_like(at))
    assert kl_loss(random(2, 6, 4, 4)) > 0


def test_the_reconstruction_loss_of_equal_images_is_zero():
    images = random(2, 3, 8, 8)
    assert reconstruction_loss(images, images, torch.zeros(2), 1.0) == 0.0


def test_the_reconstruction_loss_is_l1_and_perceptual_at_every_value_summed_over_an_image():
    images, others = torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.5)
    values = 3 * 8 * 8
    assert reconstruction_loss(others, images, torch.zeros(2), 1.0) == pytest.approx(0.5 * values)
    distances = torch.tensor([0.2, 0.4])
    assert reconstruction_loss(images, images, distances, 2.0) == pytest.approx(2.0 * 0.3 * values)
    assert reconstruction_loss(others, images, distances, 2.0) == pytest.approx((0.5 + 2.0 * 0.3) * values)


def test_per_image_losses_do_not_depend_on_how_the_batch_is_split():
    images, others, distances = random(6, 3, 8, 8), random(6, 3, 8, 8), random(6).abs()
    whole = reconstruction_loss(others, images, distances, 1.0)
    halves = [reconstruction_loss(others[s], images[s], distances[s], 1.0) for s in (slice(3), slice(3, 6))]
    assert whole == pytest.approx(float(sum(halves)) / 2, rel=1e-5)
    at = random(6, 6, 4, 4)
    assert kl_loss(at) == pytest.approx(float(kl_loss(at[:3]) + kl_loss(at[3:])) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("real", "fake", "loss"),
    [(1.0, -1.0, 0.0), (5.0, -5.0, 0.0), (0.0, 0.0, 1.0), (-1.0, 1.0, 2.0), (1.0, 1.0, 1.0), (0.5, -0.5, 0.5)],
)
def test_the_hinge_asks_real_above_one_and_fake_below_minus_one_and_no_more(real, fake, loss):
    logits = torch.ones(2, 1, 3, 3)
    assert discriminator_loss(real * logits, fake * logits) == pytest.approx(loss)


def test_beyond_the_hinge_there_is_no_gradient():
    real, fake = torch.full((4,), 1.5).requires_grad_(), torch.full((4,), -1.5).requires_grad_()
    discriminator_loss(real, fake).backward()
    assert torch.equal(real.grad, torch.zeros(4))
    assert torch.equal(fake.grad, torch.zeros(4))


def test_the_generator_wants_its_fakes_judged_real():
    assert generator_loss(torch.tensor([1.0, 3.0])) == -2.0


def test_the_adaptive_weight_is_the_ratio_of_gradient_norms_within_bounds_and_detached():
    reconstruction, generator = random(3, 16, 3, 3).requires_grad_(), random(3, 16, 3, 3)
    weight = adaptive_weight(reconstruction, generator)
    assert weight == pytest.approx(float(reconstruction.detach().norm() / (generator.norm() + 1e-4)), rel=1e-5)
    assert adaptive_weight(10 * reconstruction, generator) == pytest.approx(10 * float(weight), rel=1e-4)
    assert adaptive_weight(torch.tensor([1e-3]), torch.zeros(3)) == pytest.approx(10.0)
    assert adaptive_weight(torch.zeros(3), generator) == 0.0
    assert adaptive_weight(1e9 * torch.ones(3), torch.zeros(3)) == 1e4
    assert not weight.requires_grad


def process_of(prediction):
    declared = FlowSchedule() if prediction == "flow_prediction" else NoiseSchedule(prediction_type=prediction)
    return ForwardProcess(*levels(build_schedule(declared)))


PREDICTIONS = ["epsilon", "sample", "v_prediction", "flow_prediction"]


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("timestep", [1, 500, 999])
def test_latents_and_noise_follow_from_what_is_predicted(prediction, timestep):
    latents, noise, timesteps = random(2, 3, 4, 4), random(2, 3, 4, 4), torch.full((2,), timestep)
    process = process_of(prediction)
    noisy, target = process.noisy_latents(latents, noise, timesteps), process.target(latents, noise, timesteps)
    signal, sigma = float(process.signal[timestep]), float(process.noise[timestep])
    found = {
        "epsilon": lambda: (noisy - sigma * target) / signal,
        "sample": lambda: target,
        "v_prediction": lambda: signal * noisy - sigma * target,
        "flow_prediction": lambda: noisy - sigma * target,
    }[prediction]()
    torch.testing.assert_close(found, latents, rtol=1e-3, atol=1e-3)


def test_diffusion_is_noised_as_diffusers_does_it():
    schedule = build_schedule(NoiseSchedule(prediction_type="v_prediction"))
    process = ForwardProcess(*levels(schedule))
    latents, noise, timesteps = random(3, 3, 4, 4), random(3, 3, 4, 4), torch.tensor([0, 500, 999])
    torch.testing.assert_close(
        process.noisy_latents(latents, noise, timesteps), schedule.add_noise(latents, noise, timesteps)
    )
    torch.testing.assert_close(
        process.target(latents, noise, timesteps), schedule.get_velocity(latents, noise, timesteps)
    )


def test_a_flow_goes_straight_from_latents_to_noise():
    process, latents, noise = process_of("flow_prediction"), random(3, 3, 4, 4), random(3, 3, 4, 4)
    at = process.noisy_latents(latents, noise, torch.tensor([0, 500, 1000]))
    torch.testing.assert_close(at[0], latents[0])
    torch.testing.assert_close(at[1], (latents[1] + noise[1]) / 2)
    torch.testing.assert_close(at[2], noise[2])


def test_another_prediction_type_is_refused_by_name():
    latents = random(1, 3, 4, 4)
    process = ForwardProcess(torch.ones(1), torch.zeros(1), "score")
    with pytest.raises(ConfigError, match=r"prediction_type: expected epsilon, sample, .*, got 'score'"):
        process.target(latents, latents, torch.zeros(1, dtype=torch.int64))


def test_the_diffusion_loss_is_the_mean_squared_or_absolute_error():
    a, b = random(2, 3, 4, 4), random(2, 3, 4, 4)
    assert diffusion_loss(a, a, "l2") == 0.0
    assert diffusion_loss(a, b, "l2") == pytest.approx(float(((a - b) ** 2).mean()), rel=1e-6)
    assert diffusion_loss(a, b, "l1") == pytest.approx(float((a - b).abs().mean()), rel=1e-6)


def test_weights_count_a_sample_more_or_less():
    a, b = random(2, 3, 4, 4), random(2, 3, 4, 4)
    of_each = ((a - b) ** 2).mean(dim=(1, 2, 3))
    assert diffusion_loss(a, b, "l2", torch.tensor([2.0, 0.5])) == pytest.approx(
        float(2 * of_each[0] + 0.5 * of_each[1]) / 2, rel=1e-6
    )
    assert diffusion_loss(a, b, "l2", torch.ones(2)) == pytest.approx(float(diffusion_loss(a, b, "l2")), rel=1e-6)


@pytest.mark.parametrize("prediction", PREDICTIONS[:3])
def test_min_snr_weighs_an_error_of_the_latents_by_their_capped_snr_whatever_is_predicted(prediction):
    """Hang et al. 2023: one weight min(SNR, γ) of the latents' error, told in three ways."""
    process, timesteps = process_of(prediction), torch.tensor([0, 100, 400, 700, 999])
    latents, noise = random(5, 3, 4, 4), random(5, 3, 4, 4)
    noisy, target = process.noisy_latents(latents, noise, timesteps), process.target(latents, noise, timesteps)
    signal, sigma = (values[timesteps].view(-1, 1, 1, 1).double() for values in (process.signal, process.noise))
    prediction_made = target.double() + 0.1 * random(5, 3, 4, 4).double()
    made = {
        "epsilon": lambda: (noisy.double() - sigma * prediction_made) / signal,
        "sample": lambda: prediction_made,
        "v_prediction": lambda: signal * noisy.double() - sigma * prediction_made,
    }[prediction]()
    snr = (signal / sigma).square().flatten()
    of_latents = (made - latents.double()).square().mean(dim=(1, 2, 3)) * snr.clamp(max=5.0)
    weights = process.min_snr_weights(timesteps, 5.0)
    of_prediction = (prediction_made - target.double()).square().mean(dim=(1, 2, 3)) * weights
    torch.testing.assert_close(of_prediction, of_latents, rtol=1e-3, atol=1e-9)


def test_what_cannot_be_meant_together_is_refused_by_name():
    with pytest.raises(ValueError, match="zero_terminal_snr: expected prediction_type 'v_prediction' or 'sample'"):
        NoiseSchedule(zero_terminal_snr=True)
    zero = NoiseSchedule(prediction_type="v_prediction", zero_terminal_snr=True)
    with pytest.raises(ValueError, match=r"loss.min_snr_gamma: expected none with zero_terminal_snr, got 5"):
        TrainDiffusion(
            network=Denoiser(), total_images=8, global_batch_size=8,
            noise_schedule=zero, loss=DiffusionLoss(min_snr_gamma=5.0),
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"loss.min_snr_gamma: expected none with a FlowSchedule, got 5"):
        TrainDiffusion(
            network=Denoiser(), total_images=8, global_batch_size=8,
            noise_schedule=FlowSchedule(), loss=DiffusionLoss(min_snr_gamma=5.0),
        )  # fmt: skip


def test_the_codebook_loss_pulls_codes_to_latents_and_a_quarter_as_much_the_other_way():
    latents, codes = random(2, 3, 4, 4).requires_grad_(), random(2, 3, 4, 4).requires_grad_()
    codebook_loss(latents, codes).backward()
    assert float(codebook_loss(latents, codes).detach()) == pytest.approx(
        1.25 * float((latents - codes).detach().square().mean()), rel=1e-5
    )
    torch.testing.assert_close(codes.grad, 2 * (codes - latents).detach() / codes.numel())
    torch.testing.assert_close(latents.grad, 0.25 * 2 * (latents - codes).detach() / latents.numel())


def test_the_non_saturating_form_is_the_likelihood_of_being_told_apart():
    real, fake = random(4), random(4)
    expected = -0.5 * (real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean())
    assert discriminator_loss(real, fake, "non_saturating") == pytest.approx(float(expected), rel=1e-5)
    assert generator_loss(fake, "non_saturating") == pytest.approx(float(-fake.sigmoid().log().mean()), rel=1e-5)
