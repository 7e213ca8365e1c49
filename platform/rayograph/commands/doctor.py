"""rayograph doctor: what the trainings of a job need and cost, before anything starts."""

from collections.abc import Iterator

from rayograph.conditioning.settled import settled
from rayograph.config import Job, Scale, TrainAutoencoder, TrainDiffusion
from rayograph.config.batches import micro_batch_and_accumulation, worker_counts
from rayograph.config.training import Training
from rayograph.errors import ConfigError
from rayograph.pipeline.preflight import image_size_of
from rayograph.runs.progress import duration, memory
from rayograph.runs.wandb_access import wandb_access
from rayograph.training.estimate import Cost, autoencoder_cost, diffusion_cost


def examine(
    job: Job, scale: Scale, names: list[str], *, tflops: float | None, utilisation: float, price: float | None
) -> Iterator[str]:
    """Lines to read. `tflops` is the peak of a worker's device, `price` what a worker costs an hour.

    Raises ConfigError where the job alone does not say what its networks see.
    """
    for name in names:
        stage = job.stages[name]
        if isinstance(stage, TrainAutoencoder):
            cost = autoencoder_cost(stage, _image_size(job, name, stage))
        elif isinstance(stage, TrainDiffusion):
            counted = settled(name, stage, [{"class_names": []}])[0] if stage.conditioning.needs_data else stage
            cost = diffusion_cost(counted, *_latents(job, name, stage))
        else:
            continue
        yield from _described(name, stage, scale, cost)
        if isinstance(stage, TrainDiffusion) and stage.conditioning.needs_data:
            yield "  num_classes auto: counted without classes; the data tells how many, once it is packed"
        if tflops is not None:
            yield from _duration(stage, scale, cost, tflops * 1e12 * utilisation, utilisation, price)
    access = wandb_access()
    yield f"tracking: metrics.jsonl in each artifact, W&B {access.mode}"
    if access.warning is not None:
        yield f"  {access.warning}"


def _described(name: str, stage: Training, scale: Scale, cost: Cost) -> Iterator[str]:
    training, most = scale.training, worker_counts(stage, scale.training)[0]
    micro, accumulation = micro_batch_and_accumulation(stage, training, most)
    networks = ", ".join(f"{network} {_count(count)}" for network, count in cost.parameters.items())
    frozen = f", frozen {_count(cost.frozen)}" if cost.frozen else ""
    yield f"{name}: {networks}{frozen}; {cost.flops / 1e9:,.1f} GFLOP an image, forward and backward"
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


def _image_size(job: Job, name: str, stage: TrainAutoencoder) -> int:
    _, size = image_size_of(job, name, stage)
    if size is None:
        raise ConfigError(f"{name}.view.image_size: expected a size, as the job does not say that of its images")
    return size


def _latents(job: Job, name: str, stage: TrainDiffusion) -> tuple[int, int]:
    """Channels and side of the grid."""
    autoencoder = job.stages.get(stage.autoencoder)
    if not isinstance(autoencoder, TrainAutoencoder):
        raise ConfigError(
            f"{name}.autoencoder: expected a stage of this job to tell its latents by, got {stage.autoencoder}"
        )
    size = _image_size(job, stage.autoencoder, autoencoder)
    return autoencoder.network.latent_channels, size // autoencoder.network.downsampling_factor


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:,.1f}M" if parameters >= 1e6 else f"{parameters / 1e3:,.1f}K"
