"""What can be known before any work: that the stages of a job fit each other and the scale profile."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rayograph.config import Evaluate, FlowSchedule, Job, Pack, Sample, Scale, TrainAutoencoder, TrainDiffusion
from rayograph.config.batches import worker_counts
from rayograph.config.training import Training
from rayograph.errors import ConfigError

if TYPE_CHECKING:
    from rayograph.conditioning.protocol import Conditioner

SMALLEST_SSIM_SIDE = 11
"""The side of SSIM's window (Wang et al. 2004)."""


def check(job: Job, scale: Scale, names: Sequence[str]) -> None:
    """Raises ConfigError for the first thing that could only end badly; inputs from outside the job go unseen."""
    for name in names:
        stage = job.stages[name]
        if isinstance(stage, Training):
            worker_counts(stage, scale.training)
        if isinstance(stage, TrainAutoencoder):
            _autoencoder(job, name, stage)
        if isinstance(stage, TrainDiffusion):
            _diffusion(job, name, stage)
        if isinstance(stage, Sample):
            _sampling(job, name, stage, scale)
        if isinstance(stage, Evaluate):
            _evaluation(job, name, stage)


def _autoencoder(job: Job, name: str, stage: TrainAutoencoder) -> None:
    where, size = image_size_of(job, name, stage)
    factor = stage.network.downsampling_factor
    if size is not None and size % factor:
        raise ConfigError(
            f"{name}.network.block_out_channels: f = {factor} needs an image size divisible by it, got {where} {size}"
        )
    if size is not None and size < stage.discriminator.smallest_image:
        raise ConfigError(
            f"{name}.discriminator.num_layers: {stage.discriminator.num_layers} leave a patch of images of at least "
            f"{stage.discriminator.smallest_image} pixels a side, got {where} {size}"
        )


def _diffusion(job: Job, name: str, stage: TrainDiffusion) -> None:
    autoencoder = job.stages.get(stage.autoencoder)
    if not isinstance(autoencoder, TrainAutoencoder):
        return
    _, size = image_size_of(job, stage.autoencoder, autoencoder)
    if size is not None:
        grid = size // autoencoder.network.downsampling_factor
        halvings = 2 ** (len(stage.network.block_out_channels) - 1)
        if grid % halvings:
            raise ConfigError(
                f"{name}.network.block_out_channels: {len(stage.network.block_out_channels)} levels need a latent grid "
                f"divisible by {halvings}, got {grid}×{grid}"
            )


def image_size_of(job: Job, name: str, stage: TrainAutoencoder) -> tuple[str, int | None]:
    """The field that decides what the autoencoder sees, and the size it says; None where only the data can tell."""
    if stage.view.image_size is not None:
        return f"{name}.view.image_size", stage.view.image_size
    images = job.stages.get(stage.images) if isinstance(stage.images, str) else None
    if isinstance(images, Pack) and images.image_size is None:
        raise ConfigError(f"{name}.view.image_size: expected a size, as {stage.images} leaves images at their own")
    return f"{stage.images}.image_size", images.image_size if isinstance(images, Pack) else None


def _sampling(job: Job, name: str, stage: Sample, scale: Scale) -> None:
    """A request's first rows are looked at before a model is trained for it; all of them, when its turn comes."""
    files = scale.sampling.certificate_file, scale.sampling.private_key_file
    if stage.marking.credentials and None in files:
        raise ConfigError(
            f"{name}.marking.credentials: expected sampling.certificate_file and sampling.private_key_file in the "
            "scale profile, got none"
        )
    trained = job.stages.get(stage.model)
    if not isinstance(trained, TrainDiffusion):
        return
    if trained.conditioning.needs_data:
        return  # foresight.py looks, once the data tells
    from rayograph.conditioning.trained import conditioner_of

    glance_at(job, name, scale, conditioner_of(trained.conditioning, None))


def glance_at(job: Job, name: str, scale: Scale, conditioner: "Conditioner") -> None:
    """Look at what a Sample stage asks of a model of this job, so conditioned."""
    stage = job.stages[name]
    trained = job.stages[stage.model] if isinstance(stage, Sample) else None
    autoencoder = job.stages.get(trained.autoencoder) if isinstance(trained, TrainDiffusion) else None
    if not isinstance(stage, Sample) or not isinstance(trained, TrainDiffusion):
        return
    if not isinstance(autoencoder, TrainAutoencoder):
        return
    _, side = image_size_of(job, trained.autoencoder, autoencoder)
    if side is None:
        return
    from rayograph.sampling.requests.model_spec import ModelSpec
    from rayograph.sampling.requests.planner import glance

    multiple = autoencoder.network.downsampling_factor * 2 ** (len(trained.network.block_out_channels) - 1)
    schedule = trained.noise_schedule
    steps, flow = schedule.num_train_timesteps, isinstance(schedule, FlowSchedule)
    spec = ModelSpec(conditioner, side, multiple, steps, flow)
    glance(stage, name, spec, scale.access)


def _evaluation(job: Job, name: str, stage: Evaluate) -> None:
    images, autoencoder = job.stages.get(stage.images), job.stages.get(stage.autoencoder)
    if isinstance(images, Pack) and not images.held_out_fraction:
        raise ConfigError(f"{stage.images}.held_out_fraction: expected more than 0, as {name} needs held-out images")
    if not isinstance(autoencoder, TrainAutoencoder):
        return
    where, size = image_size_of(job, stage.autoencoder, autoencoder)
    if size is None:
        return
    if size % stage.feature_size:
        raise ConfigError(f"{name}.feature_size: expected a divisor of {where} {size}, got {stage.feature_size}")
    if size < SMALLEST_SSIM_SIDE:
        raise ConfigError(f"{where}: expected at least {SMALLEST_SSIM_SIDE} for SSIM, got {size}")
