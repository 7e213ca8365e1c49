"""train_autoencoder: image shards to a first stage."""

from functools import partial
from typing import Any

from rayograph.config import TrainAutoencoder, TrainingScale
from rayograph.errors import ConfigError
from rayograph.ingest.packing import TRAIN
from rayograph.ingest.reading import PlannedReader
from rayograph.shards.plan import Plan
from rayograph.stages.assignment import Assignment
from rayograph.stages.outcome import Outcome
from rayograph.stages.resolve import ResolvedStage
from rayograph.stages.training import run_training


def run_train_autoencoder(stage: ResolvedStage, declared: TrainAutoencoder) -> Outcome:
    """Raises ConfigError where the images' size does not suit the downsampling factor."""
    images, packed = stage.input("images")
    size, factor = packed.facts["image_size"], declared.network.downsampling_factor
    if size % factor:
        raise ConfigError(f"{stage.name}.network: f = {factor} needs an image size divisible by it, got {size}")
    shards = packed.split(TRAIN)
    counts = tuple(shard.samples for shard in shards)
    plan = Plan(counts, stage.seed, declared.global_batch_size, declared.lanes)
    assignment = Assignment(
        recipe=declared,
        scale=stage.scale,
        artifact=stage.artifact,
        reader=PlannedReader(images, tuple(shard.path for shard in shards), plan, "images"),
        row_bytes=size * size * declared.network.image_channels,
        make_learner=partial(_learner, declared, stage.scale.training, stage.seed),
    )
    outcome = run_training(stage, declared, assignment, {"reconstruction": "L1", "discriminator": "critic"})
    outcome.facts = {"image_size": size, "downsampling_factor": factor}
    return outcome


def _learner(declared: TrainAutoencoder, scale: TrainingScale, seed: int) -> Any:
    from rayograph.training.autoencoder import AutoencoderLearner

    return AutoencoderLearner(declared, scale, seed)
