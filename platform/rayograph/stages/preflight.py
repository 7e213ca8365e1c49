"""What can be known before any work: that the stages of a job fit each other and the scale profile."""

from collections.abc import Sequence

from rayograph.config import Evaluate, Job, Pack, Scale, TrainAutoencoder, TrainDiffusion
from rayograph.config.batches import micro_batch_and_accumulation
from rayograph.config.training import Training
from rayograph.errors import ConfigError

SMALLEST_SSIM_SIDE = 11
"""The side of SSIM's window (Wang et al. 2004)."""


def check(job: Job, scale: Scale, names: Sequence[str]) -> None:
    """Raises ConfigError for the first thing that could only end badly; inputs from outside the job go unseen."""
    for name in names:
        stage = job.stages[name]
        if isinstance(stage, Training):
            micro_batch_and_accumulation(stage, scale.training, scale.training.workers)
        if isinstance(stage, TrainAutoencoder):
            _autoencoder(job, name, stage)
        if isinstance(stage, TrainDiffusion):
            _diffusion(job, name, stage)
        if isinstance(stage, Evaluate):
            _evaluation(job, name, stage)


def _autoencoder(job: Job, name: str, stage: TrainAutoencoder) -> None:
    images = job.stages.get(stage.images)
    factor = stage.network.downsampling_factor
    if isinstance(images, Pack) and images.image_size % factor:
        raise ConfigError(
            f"{name}.network.block_out_channels: f = {factor} needs an image size divisible by it, "
            f"got {stage.images}.image_size {images.image_size}"
        )
    _groups_divide(f"{name}.network", stage.network.block_out_channels, stage.network.norm_num_groups)


def _diffusion(job: Job, name: str, stage: TrainDiffusion) -> None:
    _groups_divide(f"{name}.network", stage.network.block_out_channels, stage.network.norm_num_groups)
    autoencoder = job.stages.get(stage.autoencoder)
    images = job.stages.get(autoencoder.images) if isinstance(autoencoder, TrainAutoencoder) else None
    if isinstance(autoencoder, TrainAutoencoder) and isinstance(images, Pack):
        grid = images.image_size // autoencoder.network.downsampling_factor
        halvings = 2 ** (len(stage.network.block_out_channels) - 1)
        if grid % halvings:
            raise ConfigError(
                f"{name}.network.block_out_channels: {len(stage.network.block_out_channels)} levels need a latent grid "
                f"divisible by {halvings}, got {grid}×{grid}"
            )


def _evaluation(job: Job, name: str, stage: Evaluate) -> None:
    images = job.stages.get(stage.images)
    if not isinstance(images, Pack):
        return
    if images.image_size % stage.feature_size:
        raise ConfigError(
            f"{name}.feature_size: expected a divisor of {stage.images}.image_size {images.image_size}, "
            f"got {stage.feature_size}"
        )
    if images.image_size < SMALLEST_SSIM_SIDE:
        raise ConfigError(
            f"{stage.images}.image_size: expected at least {SMALLEST_SSIM_SIDE} for SSIM, got {images.image_size}"
        )


def _groups_divide(where: str, channels: Sequence[int], groups: int) -> None:
    for width in channels:
        if width % groups:
            raise ConfigError(f"{where}.norm_num_groups: expected a divisor of every one of {channels}, got {groups}")
