"""Losses against their closed forms."""

from types import SimpleNamespace

import pytest
import torch

from rayograph.config import NoiseSchedule
from rayograph.errors import ConfigError
from rayograph.losses.adversarial import adaptive_weight, discriminator_loss, generator_loss
from rayograph.losses.diffusion import diffusion_loss, diffusion_target
from rayograph.losses.reconstruction import kl_loss, reconstruction_loss
from rayograph.models.schedule import build_schedule

NOISE = torch.Generator().manual_seed(0)


def random(*shape):
    return torch.randn(shape, generator=NOISE)


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


@pytest.mark.parametrize("timestep", [0, 500, 999])
def test_targets_are_the_noise_or_the_velocity(timestep):
    latents, noise = random(2, 3, 4, 4), random(2, 3, 4, 4)
    timesteps = torch.full((2,), timestep)
    epsilon = build_schedule(NoiseSchedule(prediction_type="epsilon"))
    assert torch.equal(diffusion_target(epsilon, latents, noise, timesteps), noise)
    velocity = build_schedule(NoiseSchedule(prediction_type="v_prediction"))
    signal = velocity.alphas_cumprod[timestep].sqrt()
    expected = signal * noise - (1 - signal**2).sqrt() * latents
    torch.testing.assert_close(diffusion_target(velocity, latents, noise, timesteps), expected, rtol=1e-4, atol=1e-5)


def test_another_prediction_type_is_refused_by_name():
    schedule = SimpleNamespace(config=SimpleNamespace(prediction_type="sample"), get_velocity=lambda *_: None)
    latents = random(1, 3, 4, 4)
    with pytest.raises(ConfigError, match="prediction_type: expected epsilon or v_prediction, got 'sample'"):
        diffusion_target(schedule, latents, latents, torch.zeros(1, dtype=torch.int64))


def test_the_diffusion_loss_is_the_mean_squared_error():
    a, b = random(2, 3, 4, 4), random(2, 3, 4, 4)
    assert diffusion_loss(a, a) == 0.0
    assert diffusion_loss(a, b) == pytest.approx(float(((a - b) ** 2).mean()), rel=1e-6)
