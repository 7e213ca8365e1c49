"""train_diffusion: shards of moments, or of images, to a model folder, complete with its first stage."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rayograph.config import TrainDiffusion, TrainingScale
from rayograph.ingest.latent_statistics import measured
from rayograph.models.autoencoder import AutoencoderNetwork
from rayograph.models.model_folder import AUTOENCODER, save_model
from rayograph.models.normalisation import LatentNormalisation
from rayograph.models.specs import LatentShape
from rayograph.runs.artifact import Artifact
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.runs.terminal.console import say
from rayograph.trainer.dataset import planned_reader
from rayograph.trainer.driver import run_training
from rayograph.trainer.learned_data import LearnedData, learned_data
from rayograph.trainer.previews import samples
from rayograph.trainer.worker_config import WorkerConfig
from rayograph.training.cost import Cost

if TYPE_CHECKING:
    from rayograph.training.diffusion_learner import DiffusionLearner


def run_train_diffusion(stage: StageContext, declared: TrainDiffusion) -> StageResult:
    """Raises ConfigError where what is declared of conditions, or to start from, is not what there is."""
    learned = learned_data(stage, declared)
    declared, latents = learned.declared, learned.latents
    _require_networks(learned)
    for remark in learned.conditioner.remarks:
        say(f"{stage.name}: {remark}")
    initial = stage.inputs.get("init_from")
    if initial is not None:
        _require_shapes(learned, initial)
    reader = planned_reader(stage, declared, learned.field, learned.content)
    normalisation = learned.normalisation
    if learned.measures:
        normalisation = measured(stage, reader, stage.inputs["autoencoder"])
    first_stage = learned.first_stage if learned.field == "images" else None
    assignment = WorkerConfig(
        recipe=declared,
        scale=stage.scale,
        artifact=stage.artifact,
        reader=reader,
        make_learner=partial(
            _learner, declared, stage.scale.training, stage.seed, normalisation, latents, initial, first_stage
        ),
        cost=partial(_cost, declared, latents),
        picture=partial(samples, declared.preview_images, stage.seed, learned.first_stage, normalisation),
    )
    autoencoder = learned.first_stage()
    normalisation.keep_in(autoencoder)
    save_model(stage.artifact, AUTOENCODER, autoencoder)
    outcome = run_training(stage, declared, assignment, {"loss": "loss"})
    outcome.facts |= {"class_names": []} | learned.conditioner.facts
    if learned.measures:
        outcome.facts |= {"latent_mean": list(normalisation.mean), "latent_std": list(normalisation.std)}
    return outcome


def _require_networks(learned: LearnedData) -> None:
    """Raise ConfigError, before any worker starts, where denoiser and conditions do not suit each other."""
    import torch

    from rayograph.training.diffusion_learner import build_networks

    with torch.device("meta"):
        build_networks(learned.declared, learned.latents)


def _require_shapes(learned: LearnedData, initial: Artifact) -> None:
    """Raise ConfigError, before any worker starts, where the weights to start from are another network's."""
    import torch
    from torch import nn

    from rayograph.training.checkpoints.initial_weights import diffusion_weights, start_from
    from rayograph.training.diffusion_learner import build_networks

    with torch.device("meta"):
        denoiser, conditioner = build_networks(learned.declared, learned.latents)
    start_from(nn.ModuleDict({"denoiser": denoiser, "conditioner": conditioner.network}), diffusion_weights(initial))


def _learner(
    declared: TrainDiffusion,
    scale: TrainingScale,
    seed: int,
    normalisation: LatentNormalisation,
    latents: LatentShape,
    initial: Artifact | None,
    first_stage: Callable[[], AutoencoderNetwork] | None,
) -> "DiffusionLearner":
    from rayograph.training.checkpoints.initial_weights import diffusion_weights
    from rayograph.training.diffusion_learner import DiffusionLearner
    from rayograph.training.engine.zero import settled as settled_scale
    from rayograph.training.workers import world

    scale, notes = settled_scale(scale, declared, world()[1], partial(_cost, declared, latents))
    learner = DiffusionLearner(
        declared,
        scale,
        seed,
        normalisation,
        latents,
        None if initial is None else diffusion_weights(initial),
        None if first_stage is None else first_stage(),
    )
    learner.notes += notes
    return learner


def _cost(declared: TrainDiffusion, latents: LatentShape) -> Cost:
    from rayograph.training.estimate import diffusion_cost

    return diffusion_cost(declared, latents)
