"""The first stage's learner: autoencoder and discriminator, each under its own engine (Rombach et al. 2022, sec. 3.1).

Each engine's forward does the whole work and gives one scalar loss; the adaptive weight is found inside
the autoencoder's.

Shapes: b batch, c image channels, h w pixels, z latent channels, y x latent grid.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from rayograph.config import AutoencoderLoss, TrainAutoencoder, TrainingScale
from rayograph.losses.adversarial import adaptive_weight, discriminator_loss, generator_loss
from rayograph.losses.reconstruction_loss import codebook_loss, kl_loss, reconstruction_loss
from rayograph.models.autoencoder import (
    AutoencoderNetwork,
    Quantised,
    build_autoencoder,
    posterior_sample,
    to_images,
)
from rayograph.models.discriminator import PatchDiscriminator
from rayograph.models.model_folder import AUTOENCODER
from rayograph.models.perceptual import PerceptualDistance, build_perceptual
from rayograph.runs.philox import normal
from rayograph.runs.rng_streams import RngStream
from rayograph.shapes import Images, Noise, Scalar
from rayograph.shards.batch import Batch
from rayograph.training.checkpoints.initial_weights import start_from
from rayograph.training.engine.engine import Engine
from rayograph.training.engine.flat import Loss
from rayograph.training.engine.surrogate_loss import SurrogateLoss
from rayograph.training.learner import Metrics, Model, mean_metrics
from rayograph.training.setup import averages_of, engine_settings, learning_rate, prepared
from rayograph.training.workers import device, mean_over_workers, world

AUTOENCODER_ENGINE = "autoencoder"


@dataclass(frozen=True)
class Reconstructed:
    """What a generator's pass shows: the images it made, and its losses."""

    images: Tensor
    parts: dict[str, Tensor]


class GeneratorPass(nn.Module):
    """Reconstruct, compare, and, while there is a `critic`, try to pass for real."""

    def __init__(self, autoencoder: AutoencoderNetwork, loss: AutoencoderLoss) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self._loss = loss

    def forward(
        self,
        images: Images,
        noise: Noise,
        perceptual: PerceptualDistance,
        critic: nn.Module | None,
        weight: Tensor | None,
    ) -> Loss:
        """Of one micro-batch. `weight` is the adaptive weight, where it is known already."""
        moments = self.autoencoder.encode(images)
        raw_latents = posterior_sample(moments, noise)
        made = self.autoencoder.decode(raw_latents)
        parts: dict[str, Tensor] = {}
        if isinstance(self.autoencoder, Quantised):
            codebook = codebook_loss(raw_latents, self.autoencoder.nearest_codes(raw_latents))
            regularisation = self._loss.codebook_weight * codebook
            parts["codebook"] = codebook.detach()
        else:
            kl = kl_loss(moments)
            regularisation = self._loss.kl_weight * kl
            parts["kl"] = kl.detach()
        if critic is None:
            reconstruction, distance = self._reconstruction(made, images, perceptual)
            loss = reconstruction
        else:
            reconstruction, distance, generator, gradients = self._judged(made, images, perceptual, critic)
            if weight is None:
                weight = adaptive_weight(*(mean_over_workers(g) for g in self._at_last_layer(made, gradients)))
            share = self._loss.discriminator_weight * weight
            loss = SurrogateLoss.apply(made, reconstruction + share * generator, gradients[0] + share * gradients[1])
            parts |= {"generator": generator, "adaptive_weight": weight}
        parts["reconstruction"] = reconstruction.detach() / (1 if self._quantised else images[0].numel())
        parts["perceptual"] = distance.detach().mean()
        return loss + regularisation, Reconstructed(made.detach(), parts)

    def last_layer_gradients(
        self, images: Images, noise: Noise, perceptual: PerceptualDistance, critic: nn.Module
    ) -> tuple[Tensor, Tensor]:
        """Both losses' gradients at the decoder's last convolution, for one micro-batch among several."""
        made = self.autoencoder.decode(posterior_sample(self.autoencoder.encode(images), noise))
        *_, gradients = self._judged(made, images, perceptual, critic)
        return self._at_last_layer(made, gradients)

    @property
    def _quantised(self) -> bool:
        return isinstance(self.autoencoder, Quantised)

    def _judged(
        self, made: Images, images: Images, perceptual: PerceptualDistance, critic: nn.Module
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Reconstruction loss, distance and generator loss, without gradients, and both losses' gradients at `made`.

        Taken there once, they serve the adaptive weight and the training.
        """
        leaf = made.detach().requires_grad_()
        shown = leaf.view_as(leaf)  # who counts FLOPs hooks what modules are given, and cannot hook a leaf
        reconstruction, distance = self._reconstruction(shown, images, perceptual)
        generator = generator_loss(critic(shown), self._loss.adversarial)
        (of_reconstruction,) = torch.autograd.grad(reconstruction, leaf)
        (of_generator,) = torch.autograd.grad(generator, leaf)
        return reconstruction.detach(), distance, generator.detach(), (of_reconstruction, of_generator)

    def _reconstruction(self, made: Images, images: Images, perceptual: PerceptualDistance) -> tuple[Scalar, Tensor]:
        """The loss, with a codebook its mean instead of its sum over an image (the released models'); the distance."""
        distance = perceptual(made, images)
        loss = reconstruction_loss(made, images, distance, self._loss.perceptual_weight)
        return (loss / images[0].numel() if self._quantised else loss), distance

    def _at_last_layer(self, made: Images, gradients: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        last = self.autoencoder.last_decoder_layer()
        first, second = (torch.autograd.grad(made, last, gradient, retain_graph=True)[0] for gradient in gradients)
        return first, second


class DiscriminatorPass(nn.Module):
    """Tell images from reconstructions."""

    def __init__(self, discriminator: PatchDiscriminator, form: str) -> None:
        super().__init__()
        self.discriminator = discriminator
        self._form = form

    def forward(self, images: Images, reconstructions: Images) -> Loss:
        real, fake = self.discriminator(torch.cat([images, reconstructions])).chunk(2)
        return discriminator_loss(real, fake, self._form), None


class AutoencoderLearner:
    """Trains the declared autoencoder; the discriminator joins at `discriminator_start_images`."""

    monitor_metric = "reconstruction"
    names_before: Mapping[str, str] = {}

    def __init__(
        self,
        recipe: TrainAutoencoder,
        scale: TrainingScale,
        seed: int,
        initial: Mapping[str, Tensor] | None = None,
    ) -> None:
        """`initial` are the autoencoder's weights by its engine's names, in the place of fresh ones."""
        self._recipe, self._seed = recipe, seed
        _, workers = world()
        torch.manual_seed(seed)
        autoencoder = build_autoencoder(recipe.network)
        prepared(autoencoder, scale, autoencoder.separable_parts())
        critic = PatchDiscriminator(recipe.discriminator, recipe.network.image_channels)
        perceptual, note = build_perceptual(recipe.perceptual, recipe.network.image_channels)
        self.notes = [note]
        settings = engine_settings(recipe, scale, workers, averages_of(recipe))
        self._perceptual = perceptual.to(device())
        self._micro_batch_size = settings.micro_batch_size
        generator = GeneratorPass(autoencoder, recipe.loss)
        if initial is not None:
            start_from(generator, initial)
        self._generator = Engine(generator.to(device()), settings)
        # Under ZeRO-3 a discriminator called inside the autoencoder's forward would have no weights there.
        critic_settings = engine_settings(recipe, scale, workers, zero_stage=min(2, settings.zero_stage))
        self._critic = Engine(DiscriminatorPass(critic, recipe.loss.adversarial).to(device()), critic_settings)
        self._critic_peak = recipe.discriminator_learning_rate or recipe.learning_rate

    def engines(self) -> dict[str, Engine[nn.Module]]:
        return {AUTOENCODER_ENGINE: self._generator, "discriminator": self._critic}

    def step(self, batch: Batch, images_seen: int) -> Metrics:
        """Autoencoder first, on all micro-batches; then the discriminator, on what it made."""
        recipe = self._recipe
        start = recipe.loss.discriminator_start_images
        adversarial = images_seen >= start and recipe.loss.discriminator_weight > 0
        step = images_seen // recipe.global_batch_size
        rate = learning_rate(recipe, images_seen)
        self._generator.schedule(rate, step)
        micro_batches = [self._tensors(part) for part in batch.split(self._micro_batch_size)]
        with self._critic.frozen() as frozen:
            critic = frozen.discriminator if adversarial else None
            weight = (
                self._shared_weight(micro_batches, critic) if critic is not None and len(micro_batches) > 1 else None
            )
            made: list[Reconstructed] = [
                cast(Reconstructed, shown)
                for _, shown in self._generator.minimise(
                    [(images, noise, self._perceptual, critic, weight) for images, noise in micro_batches]
                )
            ]
        parts = [shown.parts for shown in made]
        if adversarial:
            self._critic.schedule(learning_rate(recipe, images_seen, self._critic_peak), step)
            judged = self._critic.minimise(
                [(images, shown.images) for (images, _), shown in zip(micro_batches, made, strict=True)]
            )
            parts = [part | {"discriminator": loss} for part, (loss, _) in zip(parts, judged, strict=True)]
        metrics = mean_metrics(parts) | {"learning_rate": rate} | self._generator.figures()
        if adversarial:
            metrics |= self._critic.figures("discriminator_")
        return metrics

    def _shared_weight(self, micro_batches: list[tuple[Tensor, Tensor]], critic: nn.Module) -> Tensor:
        """One adaptive weight for a step of several micro-batches: of the whole global batch's gradients."""
        with self._generator.gathered() as generator, self._generator.precision():
            found = [
                generator.last_layer_gradients(images, noise, self._perceptual, critic)
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
        return images, normal(self._seed, RngStream.POSTERIOR, positions, (network.latent_channels, *grid))

    def exports(self) -> Iterator[tuple[str, Model]]:
        weights = self._generator.averaged()
        if weights:
            yield from autoencoder_models(self._recipe, weights)


def autoencoder_models(recipe: TrainAutoencoder, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Model]]:
    """(folder, model) pairs of a training's weights, by the names that its engine has for them."""
    autoencoder = build_autoencoder(recipe.network)
    autoencoder.load_state_dict({name.removeprefix("autoencoder."): value for name, value in weights.items()})
    yield AUTOENCODER, autoencoder
