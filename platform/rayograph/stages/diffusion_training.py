"""train_diffusion: moments shards to a model folder, complete with its first stage."""

from functools import partial
from typing import Any

from rayograph.conditioning.settled import settled
from rayograph.config import TrainDiffusion, TrainingScale
from rayograph.errors import ConfigError
from rayograph.ingest.decoders import Moments
from rayograph.models.folder import AUTOENCODER, load_autoencoder, save_model
from rayograph.models.scaling import LatentScale
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.trainer.dataset import planned_reader
from rayograph.trainer.driver import run_training
from rayograph.trainer.previews import samples
from rayograph.trainer.worker_config import Assignment


def run_train_diffusion(stage: StageContext, declared: TrainDiffusion) -> StageResult:
    """Raises ConfigError where what is declared of conditions is not what the data has."""
    encoded = [(manifest.facts, weight) for _, manifest, weight in stage.mixture("moments")]
    shape = _common(stage, encoded, "latent_shape")
    declared, conditioner = settled(stage.name, declared, [facts for facts, _ in encoded])
    scales = [LatentScale(tuple(facts["latent_mean"]), tuple(facts["latent_std"])) for facts, _ in encoded]
    latent_scale = LatentScale.mixed(scales, [weight for _, weight in encoded])
    channels, height, width = shape
    first_stage, _ = stage.input("autoencoder")
    assignment = Assignment(
        recipe=declared,
        scale=stage.scale,
        artifact=stage.artifact,
        reader=planned_reader(stage, declared, "moments", Moments((2 * channels, height, width), conditioner)),
        make_learner=partial(_learner, declared, stage.scale.training, stage.seed, latent_scale, height),
        cost=partial(_cost, declared, latent_scale, height),
        picture=partial(samples, declared.preview_images, stage.seed, first_stage, latent_scale),
    )
    autoencoder = load_autoencoder(first_stage)
    latent_scale.keep_in(autoencoder)
    save_model(stage.artifact, AUTOENCODER, autoencoder)
    outcome = run_training(stage, declared, assignment, {"loss": "loss"})
    outcome.facts |= {"class_names": []} | conditioner.facts
    return outcome


def _common(stage: StageContext, encoded: list[tuple[dict[str, Any], float]], fact: str) -> Any:
    """What all mixed data sets say. Raises ConfigError where they differ."""
    said = [facts[fact] for facts, _ in encoded]
    if any(value != said[0] for value in said):
        raise ConfigError(f"{stage.name}.moments: expected data sets with one {fact}, got {said[0]} and others")
    return said[0]


def _learner(declared: TrainDiffusion, scale: TrainingScale, seed: int, latent_scale: LatentScale, size: int) -> Any:
    from rayograph.training.diffusion import DiffusionLearner
    from rayograph.training.workers import world
    from rayograph.training.zero import settled as settled_scale

    scale, notes = settled_scale(scale, declared, world()[1], partial(_cost, declared, latent_scale, size))
    learner = DiffusionLearner(declared, scale, seed, latent_scale, size)
    learner.notes += notes
    return learner


def _cost(declared: TrainDiffusion, latent_scale: LatentScale, size: int) -> Any:
    from rayograph.training.estimate import diffusion_cost

    return diffusion_cost(declared, len(latent_scale.mean), size)
