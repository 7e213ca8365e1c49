"""train_diffusion: moments shards to a model folder, complete with its first stage."""

from functools import partial
from typing import Any

from rayograph.config import TrainDiffusion, TrainingScale
from rayograph.errors import ConfigError
from rayograph.ingest.packing import TRAIN
from rayograph.ingest.reading import PlannedReader
from rayograph.models.folder import AUTOENCODER, load_autoencoder, save_model
from rayograph.models.scaling import LatentScale
from rayograph.shards.plan import Plan
from rayograph.stages.assignment import Assignment
from rayograph.stages.outcome import Outcome
from rayograph.stages.resolve import ResolvedStage
from rayograph.stages.training import run_training


def run_train_diffusion(stage: ResolvedStage, declared: TrainDiffusion) -> Outcome:
    """Raises ConfigError where the declared classes are not the data's."""
    moments, encoded = stage.input("moments")
    class_names = encoded.facts["class_names"]
    if declared.network.num_classes not in (0, len(class_names)):
        raise ConfigError(
            f"{stage.name}.network.num_classes: expected {len(class_names)}, the data's classes, or 0, "
            f"got {declared.network.num_classes}"
        )
    latent_scale = LatentScale(tuple(encoded.facts["latent_mean"]), tuple(encoded.facts["latent_std"]))
    channels, height, width = encoded.facts["latent_shape"]
    shards = encoded.split(TRAIN)
    counts = tuple(shard.samples for shard in shards)
    plan = Plan(counts, stage.seed, declared.global_batch_size, declared.lanes)
    assignment = Assignment(
        recipe=declared,
        scale=stage.scale,
        artifact=stage.artifact,
        reader=PlannedReader(moments, tuple(shard.path for shard in shards), plan, "moments"),
        row_bytes=2 * channels * height * width * 4,
        make_learner=partial(_learner, declared, stage.scale.training, stage.seed, latent_scale, height),
    )
    first_stage, _ = stage.input("autoencoder")
    autoencoder = load_autoencoder(first_stage)
    latent_scale.keep_in(autoencoder)
    save_model(stage.artifact, AUTOENCODER, autoencoder)
    outcome = run_training(stage, declared, assignment, {"loss": "loss"})
    outcome.facts = {"class_names": class_names if declared.network.num_classes else []}
    return outcome


def _learner(declared: TrainDiffusion, scale: TrainingScale, seed: int, latent_scale: LatentScale, size: int) -> Any:
    from rayograph.training.diffusion import DiffusionLearner

    return DiffusionLearner(declared, scale, seed, latent_scale, size)
