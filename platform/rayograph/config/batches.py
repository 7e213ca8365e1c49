"""The arithmetic of batches: what recipe and scale profile mean together."""

from rayograph.config.job.training import Training
from rayograph.config.scale import TrainingScale
from rayograph.errors import ConfigError


def worker_counts(recipe: Training, scale: TrainingScale) -> list[int]:
    """The numbers of workers that this training can run on, the largest first. Raises ConfigError if there is none."""
    fewest, most = scale.workers
    found = []
    for workers in range(most, fewest - 1, -1):
        try:
            micro_batch_and_accumulation(recipe, scale, workers)
        except ConfigError:
            if fewest == most:
                raise
            continue
        found.append(workers)
    if not found:
        raise ConfigError(
            f"training.workers: expected from {fewest} to {most} a divisor of {recipe.lanes} lanes whose share of "
            f"global_batch_size {recipe.global_batch_size} micro_batch_size {scale.micro_batch_size} divides, got none"
        )
    return found


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
