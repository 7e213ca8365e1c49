"""The arithmetic of batches: what recipe and scale profile mean together."""

from rayograph.config.scale import TrainingScale
from rayograph.config.training import Training
from rayograph.errors import ConfigError


def micro_batch_and_accumulation(recipe: Training, scale: TrainingScale, workers: int) -> tuple[int, int]:
    """(micro-batch, accumulation) such that workers × micro-batch × accumulation is the global batch.

    A micro-batch larger than a worker's share is cut to the share. Raises ConfigError where it does not come out even.
    """
    if recipe.lanes % workers:
        raise ConfigError(f"training.workers: expected a divisor of {recipe.lanes} lanes, got {workers}")
    share = recipe.global_batch_size // workers
    micro = min(scale.micro_batch_size, share)
    if share % micro:
        raise ConfigError(
            f"training.micro_batch_size: expected a divisor of {share} (global_batch_size {recipe.global_batch_size} "
            f"over {workers} workers), got {micro}"
        )
    return micro, share // micro
