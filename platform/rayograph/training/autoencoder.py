"""The first stage's learner: autoencoder and discriminator, each under its own engine (Rombach et al. 2022, sec. 3.1).

Each engine's forward does the whole work and gives one scalar loss; the adaptive weight is found inside
the autoencoder's.

Shapes: b batch, c image channels, h w pixels, z latent channels, y x latent grid.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rayograph.config import AutoencoderLoss, TrainAutoencoder, TrainingScale
from rayograph.losses.adversarial import adaptive_weight, discriminator_loss, generator_loss
from rayograph.losses.reconstruction import codebook_loss, kl_loss, reconstruction_loss
from rayograph.models.autoencoder import (
    build_autoencoder,
    decode,
    encode,
    is_quantised,
    nearest_codes,
    posterior_sample,
    to_images,
)
from rayograph.models.discriminator import PatchDiscriminator
from rayograph.models.folder import AUTOENCODER
from rayograph.models.perceptual import PerceptualDistance, build_perceptual
from rayograph.runs.draws import Stream, normal
from rayograph.shapes import Images, Noise, Scalar
from rayograph.shards.batch import Batch
from rayograph.training.engine import Engine, device, mean_over_workers, world
from rayograph.training.learner import Metrics, mean_metrics
from rayograph.training.optimiser import ema_decay_at
from rayograph.training.setup import engine_settings, learning_rate


class GeneratorPass(nn.Module):
    """Reconstruct, compare, and, while `critic` is given, try to pass for real."""

    def __init__(self, autoencoder: Any, loss: AutoencoderLoss) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self._loss = loss
        self.reconstructions: Tensor
        self.parts: dict[str, Tensor]

    def forward(
        self,
        images: Images,
        noise: Noise,
        perceptual: PerceptualDistance,
        critic: nn.Module | None,
        weight: Tensor | None,
    ) -> Scalar:
        """The loss of one micro-batch. `weight` is the adaptive weight, where it is known already."""
        moments = encode(self.autoencoder, images)
        raw_latents = posterior_sample(moments, noise)
        reconstructions = decode(self.autoencoder, raw_latents)
        reconstruction, distance = self._reconstruction(reconstructions, images, perceptual)
        self.parts = {
            "reconstruction": reconstruction.detach() / (1 if self._quantised else images[0].numel()),
            "perceptual": distance.detach().mean(),
        }
        if self._quantised:
            regularisation = codebook_loss(raw_latents, nearest_codes(self.autoencoder, raw_latents))
            total = reconstruction + self._loss.codebook_weight * regularisation
            self.parts["codebook"] = regularisation.detach()
        else:
            regularisation = kl_loss(moments)
            total = reconstruction + self._loss.kl_weight * regularisation
            self.parts["kl"] = regularisation.detach()
        if critic is not None:
            generator = generator_loss(critic(reconstructions), self._loss.adversarial)
            if weight is None:
                weight = adaptive_weight(*(mean_over_workers(g) for g in self._gradients(reconstruction, generator)))
            total = total + self._loss.discriminator_weight * weight * generator
            self.parts |= {"generator": generator.detach(), "adaptive_weight": weight}
        self.reconstructions = reconstructions.detach()
        return total

    def last_layer_gradients(
        self, images: Images, noise: Noise, perceptual: PerceptualDistance, critic: nn.Module
    ) -> tuple[Tensor, Tensor]:
        """Both losses' gradients at the decoder's last convolution, for one micro-batch among several."""
        reconstructions = decode(self.autoencoder, posterior_sample(encode(self.autoencoder, images), noise))
        reconstruction, _ = self._reconstruction(reconstructions, images, perceptual)
        return self._gradients(reconstruction, generator_loss(critic(reconstructions), self._loss.adversarial))

    @property
    def _quantised(self) -> bool:
        return is_quantised(self.autoencoder)

    def _reconstruction(
        self, reconstructions: Images, images: Images, perceptual: PerceptualDistance
    ) -> tuple[Scalar, Tensor]:
        """The loss, with a codebook its mean instead of its sum over an image (the released models'); the distance."""
        distance = perceptual(reconstructions, images)
        loss = reconstruction_loss(reconstructions, images, distance, self._loss.perceptual_weight)
        return (loss / images[0].numel() if self._quantised else loss), distance

    def _gradients(self, reconstruction: Tensor, generator: Tensor) -> tuple[Tensor, Tensor]:
        last = self.autoencoder.decoder.conv_out.weight
        (of_reconstruction,) = torch.autograd.grad(reconstruction, last, retain_graph=True)
        (of_generator,) = torch.autograd.grad(generator, last, retain_graph=True)
        return of_reconstruction, of_generator


class DiscriminatorPass(nn.Module):
    """Tell images from reconstructions."""

    def __init__(self, discriminator: PatchDiscriminator, form: str) -> None:
        super().__init__()
        self.discriminator = discriminator
        self._form = form

    def forward(self, images: Images, reconstructions: Images) -> Scalar:
        real, fake = self.discriminator(torch.cat([images, reconstructions])).chunk(2)
        return discriminator_loss(real, fake, self._form)


class AutoencoderLearner:
    """Trains the declared autoencoder; the discriminator joins at `discriminator_start_images`."""

    def __init__(self, recipe: TrainAutoencoder, scale: TrainingScale, seed: int) -> None:
        self._recipe, self._seed = recipe, seed
        _, workers = world()
        torch.manual_seed(seed)
        generator = GeneratorPass(build_autoencoder(recipe.network), recipe.loss)
        critic = PatchDiscriminator(recipe.discriminator, recipe.network.image_channels)
        perceptual, note = build_perceptual(recipe.perceptual, recipe.network.image_channels)
        self.notes = [note]
        settings = engine_settings(recipe, scale, workers)
        self._perceptual = perceptual.to(device())
        self._micro_batch_size = settings.micro_batch_size
        self._generator = Engine(generator.to(device()), settings)
        # Under ZeRO-3 a discriminator called inside the autoencoder's forward would have no weights there.
        critic_settings = engine_settings(recipe, scale, workers, zero_stage=min(2, settings.zero_stage))
        self._critic = Engine(DiscriminatorPass(critic, recipe.loss.adversarial).to(device()), critic_settings)
        self._critic_peak = recipe.discriminator_learning_rate or recipe.learning_rate

    def engines(self) -> dict[str, Engine[Any]]:
        return {"autoencoder": self._generator, "discriminator": self._critic}

    def step(self, batch: Batch, images_seen: int) -> Metrics:
        """Autoencoder first, on all micro-batches; then the discriminator, on what it made."""
        recipe = self._recipe
        start = recipe.loss.discriminator_start_images
        adversarial = images_seen >= start and recipe.loss.discriminator_weight > 0
        steps = images_seen // recipe.global_batch_size
        rate = learning_rate(recipe, images_seen)
        self._generator.schedule(rate, ema_decay_at(steps, recipe.ema_decay))
        micro_batches = [self._tensors(part) for part in batch.split(self._micro_batch_size)]
        parts: list[dict[str, Tensor]] = []
        fakes: list[Tensor] = []
        with self._critic.frozen() as frozen:
            critic = frozen.discriminator if adversarial else None
            weight = (
                self._shared_weight(micro_batches, critic) if critic is not None and len(micro_batches) > 1 else None
            )
            for images, noise in micro_batches:
                self._generator.minimise(self._generator(images, noise, self._perceptual, critic, weight))
                parts.append(self._generator.module.parts)
                fakes.append(self._generator.module.reconstructions)
        if adversarial:
            self._critic.schedule(learning_rate(recipe, images_seen, self._critic_peak), 0.0)
            for number, (images, _) in enumerate(micro_batches):
                loss = self._critic(images, fakes[number])
                self._critic.minimise(loss)
                parts[number] = parts[number] | {"discriminator": loss.detach()}
        metrics = mean_metrics(parts) | {"learning_rate": rate, "gradient_norm": self._generator.gradient_norm()}
        if adversarial:
            metrics["discriminator_gradient_norm"] = self._critic.gradient_norm()
        return metrics

    def _shared_weight(self, micro_batches: list[tuple[Tensor, Tensor]], critic: nn.Module) -> Tensor:
        """One adaptive weight for a step of several micro-batches: of the whole global batch's gradients."""
        with self._generator.precision():
            found = [
                self._generator.module.last_layer_gradients(images, noise, self._perceptual, critic)
                for images, noise in micro_batches
            ]
        means = [mean_over_workers(torch.stack(gradients).mean(dim=0)) for gradients in zip(*found, strict=True)]
        return adaptive_weight(*means)

    def _tensors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images in [-1, 1] and the posterior's noise, which belongs to the positions."""
        pixels = torch.from_numpy(batch.columns["pixels"]).to(device())
        images = to_images(pixels)
        network = self._recipe.network
        grid = [size // network.downsampling_factor for size in images.shape[2:]]
        positions = torch.from_numpy(batch.positions).to(device())
        return images, normal(self._seed, Stream.POSTERIOR, positions, (network.latent_channels, *grid))

    def exports(self) -> Iterator[tuple[str, Any]]:
        averaged = self._generator.ema_weights()
        autoencoder = build_autoencoder(self._recipe.network)
        autoencoder.load_state_dict({name.removeprefix("autoencoder."): value for name, value in averaged.items()})
        yield AUTOENCODER, autoencoder
