"""From a recipe and a scale to an engine's settings, and its learning rate at any time."""

from collections.abc import Sequence

from torch import nn

from rayograph.config import TrainingScale
from rayograph.config.batches import micro_batch_and_accumulation
from rayograph.config.job.training import Training
from rayograph.errors import ConfigError
from rayograph.models.autoencoder import AutoencoderNetwork
from rayograph.models.denoiser import DenoiserNetwork
from rayograph.training.checkpoints.averages import Average, ConstantDecay, PowerFunction
from rayograph.training.checkpoints.retention import Retention
from rayograph.training.engine.engine import EngineSettings
from rayograph.training.training_progress import learning_rate_at


def engine_settings(
    recipe: Training,
    scale: TrainingScale,
    workers: int,
    averages: tuple[Average, ...] = (),
    zero_stage: int | None = None,
) -> EngineSettings:
    """One network's settings; `zero_stage` stands in for the profile's. Raises ConfigError for uneven batches."""
    micro, accumulation = micro_batch_and_accumulation(recipe, scale, workers)
    stage = scale.zero_stage if zero_stage is None else zero_stage
    if stage == "auto":
        raise ConfigError("training.zero_stage: expected a number once workers are known, got 'auto'")
    return EngineSettings(
        micro_batch_size=micro,
        accumulation=accumulation,
        zero_stage=stage,
        betas=recipe.betas,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        gradient_clipping=recipe.gradient_clipping,
        averages=averages,
        precision=scale.precision,
        offload_optimizer=scale.offload_optimizer,
        flat_parameters=scale.flat_parameters,
    )


def averages_of(recipe: Training) -> tuple[Average, ...]:
    """What is averaged over the steps; the first is what a training makes its model of."""
    return (*map(ConstantDecay, recipe.ema_decays), *map(PowerFunction, recipe.ema_lengths))


def retention_of(recipe: Training) -> Retention:
    """Which checkpoints stay."""
    return Retention(
        last=recipe.keep_checkpoints,
        every=recipe.keep_checkpoint_every_images,
        best=recipe.keep_best_checkpoints,
        snapshots=recipe.ema_snapshot_every_images,
    )


def prepared(network: AutoencoderNetwork | DenoiserNetwork, scale: TrainingScale, parts: Sequence[nn.Module]) -> None:
    """Makes the network run as the profile wants; `parts` are the modules of it that are compiled, each by itself.

    Raises ConfigError where diffusers cannot.
    """
    if scale.activation_checkpointing:
        network.enable_gradient_checkpointing()
    if scale.compile:
        for module in parts:
            module.compile()


def learning_rate(recipe: Training, images_seen: int, peak: float | None = None) -> float:
    """The recipe's rate at a position; `peak` stands in for its own highest rate."""
    return learning_rate_at(
        images_seen + recipe.global_batch_size,  # the step about to be taken ends there
        peak=recipe.learning_rate if peak is None else peak,
        schedule=recipe.learning_rate_schedule,
        warmup_images=recipe.warmup_images,
        total_images=recipe.total_steps * recipe.global_batch_size + recipe.global_batch_size,
        minimum=recipe.learning_rate_minimum,
    )
