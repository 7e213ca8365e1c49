"""From a recipe and a scale to an engine's settings, and its learning rate at any time."""

from rayograph.config import TrainingScale
from rayograph.config.batches import micro_batch_and_accumulation
from rayograph.config.training import Training
from rayograph.errors import ConfigError
from rayograph.training.clock import learning_rate_at
from rayograph.training.engine import EngineSettings


def engine_settings(
    recipe: Training, scale: TrainingScale, workers: int, zero_stage: int | None = None
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
        precision=scale.precision,
        betas=recipe.betas,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        gradient_clipping=recipe.gradient_clipping,
    )


def learning_rate(recipe: Training, images_seen: int, peak: float | None = None) -> float:
    """The recipe's rate at a position; `peak` stands in for its own highest rate."""
    return learning_rate_at(
        images_seen + recipe.global_batch_size,  # the step about to be taken ends there
        peak=recipe.learning_rate if peak is None else peak,
        schedule=recipe.learning_rate_schedule,
        warmup_images=recipe.warmup_images,
        total_images=recipe.total_steps * recipe.global_batch_size + recipe.global_batch_size,
    )
