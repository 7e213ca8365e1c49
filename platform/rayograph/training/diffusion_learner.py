"""The second stage's learner: a denoiser on scaled latents (Rombach et al. 2022, eq. 2 and 3).

Shapes: b batch, z latent channels, y x latent grid.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rayograph.conditioning.trained import TrainedConditioner, conditioned, conditioner_of
from rayograph.config import DiffusionLoss, TrainDiffusion, TrainingScale
from rayograph.evaluation.extractors import build_extractor
from rayograph.losses.diffusion_loss import ForwardProcess, diffusion_loss
from rayograph.models.autoencoder import AutoencoderNetwork, moments_of, posterior_sample, to_images
from rayograph.models.denoiser import DenoiserNetwork, build_denoiser
from rayograph.models.layout import CONDITIONER
from rayograph.models.model_folder import DENOISER, SCHEDULE
from rayograph.models.normalisation import LatentNormalisation
from rayograph.models.schedule import build_schedule, noise_levels, prediction_type, timesteps_at
from rayograph.models.specs import LatentShape
from rayograph.runs.philox import integers, normal, uniform
from rayograph.runs.rng_streams import RngStream
from rayograph.shapes import Latents, Noise, Positions, Timesteps
from rayograph.shards.batch import Batch
from rayograph.training.checkpoints.initial_weights import start_from
from rayograph.training.engine.engine import Engine
from rayograph.training.engine.flat import Loss
from rayograph.training.first_stage import frozen
from rayograph.training.learner import Metrics, mean_metrics
from rayograph.training.setup import averages_of, engine_settings, learning_rate, prepared
from rayograph.training.workers import device, world

DENOISER_ENGINE = "denoiser"


MOMENTS, PIXELS = "moments", "pixels"
"""The column of a batch that is learned, the second in pixel space; all others are what it is conditioned on."""

NAMES_BEFORE = {"denoiser.class_embedding.weight": "conditioner.embedding.weight"}
"""Weights by the names that checkpoints have for them from before conditioners stood beside their denoisers."""


class DenoisingPass(nn.Module):
    """Noise the latents, predict under conditions, compare. Denoiser and conditioner are trained as one."""

    def __init__(
        self, denoiser: DenoiserNetwork, conditioner: Any, process: ForwardProcess, loss: DiffusionLoss
    ) -> None:
        super().__init__()
        self.denoiser, self.conditioner = denoiser, conditioner
        self._process, self._loss = process, loss

    def forward(
        self, latents: Latents, noise: Noise, timesteps: Timesteps, columns: Mapping[str, Tensor], keep: Tensor
    ) -> Loss:
        """Of samples conditioned on what `columns` say; each condition (b, c) on nothing where `keep` is false."""
        noisy_latents = self._process.noisy_latents(latents, noise, timesteps)
        conditioning = self.conditioner.told(columns, keep)
        prediction = self.denoiser(noisy_latents, timesteps, conditioning)
        gamma = self._loss.min_snr_gamma
        weights = None if gamma is None else self._process.min_snr_weights(timesteps, gamma)
        target = self._process.target(latents, noise, timesteps)
        return diffusion_loss(prediction, target, self._loss.norm, weights), None


def draw_timesteps(seed: int, positions: Positions, loss: DiffusionLoss, count: int) -> Timesteps:
    """Which of `count` timesteps each position learns from, in [0, count)."""
    if loss.timesteps == "uniform":
        return integers(seed, RngStream.TIMESTEP, positions, count)
    logits = loss.logit_mean + loss.logit_std * normal(seed, RngStream.TIMESTEP, positions, ())
    return (logits.sigmoid() * count).long().clamp(max=count - 1)


class DiffusionLearner:
    """Trains the declared denoiser on moments (2z, y, x), drawing from each posterior afresh every time it is seen."""

    monitor_metric = "loss"
    names_before: Mapping[str, str] = NAMES_BEFORE

    def __init__(
        self,
        recipe: TrainDiffusion,
        scale: TrainingScale,
        seed: int,
        normalisation: LatentNormalisation,
        latents: LatentShape,
        initial: Mapping[str, Tensor] | None = None,
        first_stage: AutoencoderNetwork | None = None,
    ) -> None:
        """`initial` are weights by the engine's names, in the place of fresh ones; `first_stage` encodes images."""
        self.notes: list[str] = []
        self._recipe, self._seed, self._normalisation, self._latents = recipe, seed, normalisation, latents
        _, workers = world()
        torch.manual_seed(seed)
        self._schedule = build_schedule(recipe.noise_schedule)
        settings = engine_settings(recipe, scale, workers, averages_of(recipe))
        self._micro_batch_size = settings.micro_batch_size
        denoiser, trained = build_networks(recipe, latents)
        prepared(denoiser, scale, denoiser.separable_parts())
        process = ForwardProcess(*noise_levels(self._schedule), prediction_type(self._schedule))
        denoising = DenoisingPass(denoiser, trained.network, process, recipe.loss)
        if initial is not None:
            start_from(denoising, initial)
        self._first_stage = None if first_stage is None else frozen(first_stage, scale)
        if self._first_stage is not None:
            trained.network.use_first_stage(partial(normalisation.encode, self._first_stage))
            trained.network.use_extractors(partial(build_extractor, device=device().type))
        self._engine = Engine(denoising.to(device()), settings)

    def engines(self) -> dict[str, Engine[Any]]:
        return {DENOISER_ENGINE: self._engine}

    def step(self, batch: Batch, images_seen: int) -> Metrics:
        """One optimiser step; all of its chance comes from (seed, position)."""
        recipe = self._recipe
        rate = learning_rate(recipe, images_seen)
        self._engine.schedule(rate, images_seen // recipe.global_batch_size)
        results = self._engine.minimise([self._tensors(part) for part in batch.split(self._micro_batch_size)])
        metrics = mean_metrics([{"loss": loss} for loss, _ in results])
        return metrics | {"learning_rate": rate} | self._engine.figures()

    def exports(self) -> Iterator[tuple[str, Any]]:
        weights = self._engine.averaged()
        if weights:
            yield from diffusion_models(self._recipe, weights, self._latents)

    def _tensors(self, batch: Batch) -> tuple[Latents, Noise, Timesteps, dict[str, Tensor], Tensor]:
        recipe, seed = self._recipe, self._seed
        positions = torch.from_numpy(batch.positions).to(device())
        raw_latents = self._raw_latents(batch, positions)
        noise = normal(seed, RngStream.NOISE, positions, raw_latents.shape[1:])
        numbers = draw_timesteps(seed, positions, recipe.loss, recipe.noise_schedule.num_train_timesteps)
        timesteps = timesteps_at(self._schedule, numbers)
        told = batch.columns.keys() - {MOMENTS, PIXELS}
        columns = {name: torch.from_numpy(batch.columns[name]).to(device()) for name in sorted(told)}
        keep = kept_conditions(seed, positions, recipe)
        return self._normalisation.normalise(raw_latents), noise, timesteps, columns, keep

    def _raw_latents(self, batch: Batch, positions: Positions) -> Latents:
        """Of every sample a draw from its posterior, encoded now or before; in pixel space the image itself."""
        if self._recipe.images is None:
            moments = torch.from_numpy(batch.columns[MOMENTS]).to(device()).float()
        else:
            images = to_images(torch.from_numpy(batch.columns[PIXELS]).to(device()))
            if self._recipe.autoencoder is None or self._first_stage is None:
                return images
            moments = moments_of(self._first_stage, images)
        shape = (moments.shape[1] // 2, *moments.shape[2:])
        return posterior_sample(moments, normal(self._seed, RngStream.POSTERIOR, positions, shape))


def kept_conditions(seed: int, positions: Positions, recipe: TrainDiffusion) -> Tensor:
    """(b, c) bool: which of its conditions each position is told; each is drawn for by itself."""
    shares = recipe.conditioning.drop_probabilities(recipe.condition_drop_probability)
    drawn = uniform(seed, RngStream.CONDITION_DROP, positions, len(shares))
    return drawn >= torch.tensor(shares, device=drawn.device)


def build_networks(recipe: TrainDiffusion, latents: LatentShape) -> tuple[DenoiserNetwork, TrainedConditioner]:
    """Denoiser and conditioner with fresh weights. Raises ConfigError where one does not suit the other."""
    conditioner = conditioner_of(recipe.conditioning, None)
    denoiser = build_denoiser(recipe.network, latents.channels, latents.side, conditioner.gives(latents))
    return denoiser, conditioned(denoiser, conditioner)


def diffusion_models(
    recipe: TrainDiffusion, weights: Mapping[str, Tensor], latents: LatentShape
) -> Iterator[tuple[str, Any]]:
    """(folder, model) pairs of a training's weights, by the names that its engine has, or had, for them."""
    denoiser, trained = build_networks(recipe, latents)
    weights = {NAMES_BEFORE.get(name, name): value for name, value in weights.items()}
    for prefix, module in (("denoiser.", denoiser), ("conditioner.", trained.network)):
        mine = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        module.load_state_dict(mine)
    yield DENOISER, denoiser
    yield CONDITIONER, trained
    yield SCHEDULE, build_schedule(recipe.noise_schedule)
