"""rayograph doctor: what the stages of a job need and cost, before anything starts."""

from collections.abc import Iterator

from rayograph.config import Job, Scale
from rayograph.config.batches import micro_batch_and_accumulation, worker_counts
from rayograph.config.job.training import Training
from rayograph.runs.terminal.progress import duration, memory
from rayograph.runs.wandb_access import wandb_access
from rayograph.stages.stage import CheckContext, stage_of
from rayograph.training.cost import Cost


def examine(
    job: Job, scale: Scale, names: list[str], *, tflops: float | None, utilisation: float, price: float | None
) -> Iterator[str]:
    """Lines to read. `tflops` is the peak of a worker's device, `price` what a worker costs an hour.

    Raises ConfigError where the job alone does not say what its networks see.
    """
    for name in names:
        stage = job.stages[name]
        cost = stage_of(stage).estimate(stage, CheckContext(job, scale, name))
        if cost is None:
            continue
        yield f"{name}: {_counted(cost)}"
        if isinstance(stage, Training):
            yield from _described(stage, scale, cost)
        yield from (f"  {note}" for note in cost.notes)
        if isinstance(stage, Training) and tflops is not None:
            yield from _duration(stage, scale, cost, tflops * 1e12 * utilisation, utilisation, price)
    access = wandb_access()
    yield f"tracking: metrics.jsonl in each artifact, W&B {access.mode}"
    if access.warning is not None:
        yield f"  {access.warning}"


def _counted(cost: Cost) -> str:
    networks = ", ".join(f"{network} {_count(count)}" for network, count in cost.parameters.items())
    frozen = f", frozen {_count(cost.frozen)}" if cost.frozen else ""
    return f"{networks}{frozen}; {cost.flops / 1e9:,.1f} GFLOP an image, forward and backward"


def _described(stage: Training, scale: Scale, cost: Cost) -> Iterator[str]:
    training, most = scale.training, worker_counts(stage, scale.training)[0]
    micro, accumulation = micro_batch_and_accumulation(stage, training, most)
    yield f"  {stage.total_steps:,} steps of {stage.global_batch_size}: {most} workers × {micro} × {accumulation}"
    stages = (
        f"ZeRO {zero} {memory(cost.memory_bytes(zero, most, micro, training))}"
        + (" (the profile's)" if zero == training.zero_stage else "")
        for zero in range(4)
    )
    yield f"  memory a worker, at least: {', '.join(stages)}"
    yield f"  a checkpoint {memory(cost.checkpoint_bytes)}, {stage.keep_checkpoints} kept"


def _duration(
    stage: Training, scale: Scale, cost: Cost, rate: float, utilisation: float, price: float | None
) -> Iterator[str]:
    for workers in worker_counts(stage, scale.training):
        step = stage.global_batch_size * cost.flops / (workers * rate)
        seconds = stage.total_steps * step
        bill = f", {workers * price * seconds / 3600:,.2f} at {price:g} a worker's hour" if price is not None else ""
        yield f"  {workers} workers at {utilisation:.0%}: {1 / step:,.3g} steps/s, {duration(seconds)}{bill}"


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:,.1f}M" if parameters >= 1e6 else f"{parameters / 1e3:,.1f}K"
