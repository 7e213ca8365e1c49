"""train_autoencoder: image shards to a first stage."""

from functools import partial
from typing import TYPE_CHECKING, cast

from rayograph.config import TrainAutoencoder, TrainingScale
from rayograph.errors import ConfigError
from rayograph.ingest.decoders import Images
from rayograph.ingest.images.held_out import held_out
from rayograph.runs.artifact import Artifact
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.trainer.dataset import planned_reader, seen_size
from rayograph.trainer.driver import run_training
from rayograph.trainer.fidelity import Fidelity, advice, headline, measured
from rayograph.trainer.previews import reconstructions
from rayograph.trainer.worker_config import WorkerConfig
from rayograph.training.cost import Cost

if TYPE_CHECKING:
    from rayograph.training.autoencoder_learner import AutoencoderLearner


def run_train_autoencoder(stage: StageContext, declared: TrainAutoencoder) -> StageResult:
    """Raises ConfigError where no image size is known, or it does not suit the downsampling factor."""
    from rayograph.models.perceptual import pinned

    size, factor = seen_size(declared.view, stage), declared.network.downsampling_factor
    if size % factor:
        raise ConfigError(f"{stage.name}.network: f = {factor} needs an image size divisible by it, got {size}")
    perceptual = pinned(declared.perceptual)
    trained = declared.model_copy(update={"perceptual": perceptual})
    initial = stage.inputs.get("init_from")
    if initial is not None:
        _require_shapes(declared, initial)
    assignment = WorkerConfig(
        recipe=declared,
        scale=stage.scale,
        artifact=stage.artifact,
        reader=planned_reader(stage, declared, "images", Images(size, declared.view, stage.seed)),
        make_learner=partial(_learner, trained, stage.scale.training, stage.seed, size, initial),
        cost=partial(_cost, declared, size),
        picture=partial(reconstructions, declared.preview_images),
        measure=partial(measured, held_out(stage.mixture("images"), size, stage.scale.access)),
    )
    outcome = run_training(stage, declared, assignment, {"reconstruction": "L1", "discriminator": "critic"})
    outcome.facts |= {"image_size": size, "downsampling_factor": factor}
    if perceptual.weights_sha256 is not None:
        outcome.facts["perceptual_weights_sha256"] = perceptual.weights_sha256
    said = cast(Fidelity, outcome.facts)
    outcome.headline = headline(said)
    outcome.warnings += advice(declared, said)
    return outcome


def _require_shapes(declared: TrainAutoencoder, initial: Artifact) -> None:
    """Raise ConfigError, before any worker starts, where the weights to start from are another network's."""
    import torch

    from rayograph.models.autoencoder import build_autoencoder
    from rayograph.training.autoencoder_learner import GeneratorPass
    from rayograph.training.checkpoints.initial_weights import autoencoder_weights, start_from

    with torch.device("meta"):
        fresh = GeneratorPass(build_autoencoder(declared.network), declared.loss)
    start_from(fresh, autoencoder_weights(initial))


def _learner(
    declared: TrainAutoencoder, scale: TrainingScale, seed: int, image_size: int, initial: Artifact | None
) -> "AutoencoderLearner":
    from rayograph.training.autoencoder_learner import AutoencoderLearner
    from rayograph.training.checkpoints.initial_weights import autoencoder_weights
    from rayograph.training.engine.zero import settled
    from rayograph.training.workers import world

    scale, notes = settled(scale, declared, world()[1], partial(_cost, declared, image_size))
    learner = AutoencoderLearner(declared, scale, seed, None if initial is None else autoencoder_weights(initial))
    learner.notes += notes
    return learner


def _cost(declared: TrainAutoencoder, image_size: int) -> Cost:
    from rayograph.training.estimate import autoencoder_cost

    return autoencoder_cost(declared, image_size)
