"""From a recipe and a scale to an engine's settings: the arithmetic of batches, in one place."""

from rayograph.config import TrainingScale
from rayograph.config.training import Training
from rayograph.errors import ConfigError
from rayograph.training.clock import learning_rate_at
from rayograph.training.engine import EngineSettings


def engine_settings(
    recipe: Training, scale: TrainingScale, workers: int, zero_stage: int | None = None
) -> EngineSettings:
    """Accumulation makes up whatever workers × micro-batch lack of the global batch.

    Raises ConfigError where it does not come out even. A micro-batch larger than a worker's share is cut to the share.
    """
    if recipe.lanes % workers:
        raise ConfigError(f"training.workers: expected a divisor of {recipe.lanes} lanes, got {workers}")
    share = recipe.global_batch_size // workers
    micro = min(scale.micro_batch_size, share)
    if share % micro:
        raise ConfigError(
            f"training.micro_batch_size: expected a divisor of {share} (global_batch_size "
            f"{recipe.global_batch_size} over {workers} workers), got {micro}"
        )
    return EngineSettings(
        micro_batch_size=micro,
        accumulation=share // micro,
        zero_stage=scale.zero_stage if zero_stage is None else zero_stage,
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
