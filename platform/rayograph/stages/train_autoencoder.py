"""The stage `train_autoencoder`: images to a first stage (trainer/autoencoder_training.py)."""

from rayograph.config import TrainAutoencoder
from rayograph.config.batches import worker_counts
from rayograph.errors import ConfigError
from rayograph.models.trunks.packaged import packaged_weights
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.stages.seen_images import foreseen_size
from rayograph.stages.stage import CheckContext, Foreseen, Stage
from rayograph.training.cost import Cost


class TrainAutoencoderStage(Stage[TrainAutoencoder]):
    """Images to an autoencoder."""

    def check(self, declared: TrainAutoencoder, context: CheckContext) -> None:
        """Raise ConfigError where no number of workers suits the batch, or the images' size not the networks."""
        worker_counts(declared, context.scale.training)
        if declared.perceptual.pretrained is not None:
            packaged_weights()
        seen = foreseen_size(declared.view, context)
        size, where, factor = seen.image_size, seen.decided_by, declared.network.downsampling_factor
        if size is None:
            return
        if size % factor:
            raise ConfigError(
                f"{context.name}.network.{declared.network.decides_factor}: f = {factor} needs an image size divisible "
                f"by it, got {where} {size}"
            )
        if size < declared.discriminator.smallest_image:
            raise ConfigError(
                f"{context.name}.discriminator.num_layers: {declared.discriminator.num_layers} leave a patch of images "
                f"of at least {declared.discriminator.smallest_image} pixels a side, got {where} {size}"
            )

    def foresee(self, declared: TrainAutoencoder, context: CheckContext) -> Foreseen:
        """Return what it is trained at, and the grid of its latents."""
        seen, network = foreseen_size(declared.view, context), declared.network
        return Foreseen(
            image_size=seen.image_size,
            decided_by=seen.decided_by,
            downsampling_factor=network.downsampling_factor,
            latent_channels=network.latent_channels,
        )

    def estimate(self, declared: TrainAutoencoder, context: CheckContext) -> Cost:
        """Count on the images' size. Raises ConfigError where the job does not say it."""
        size = foreseen_size(declared.view, context).image_size
        if size is None:
            raise ConfigError(
                f"{context.name}.view.image_size: expected a size, as the job does not say that of its images"
            )
        from rayograph.training.estimate import autoencoder_cost

        return autoencoder_cost(declared, size)

    def check_cluster(self, declared: TrainAutoencoder, context: StageContext) -> None:
        """Require room for the fewest workers."""
        from rayograph.trainer.elastic import Room

        Room(context.scale, worker_counts(declared, context.scale.training)).require(context.name)

    def run(self, declared: TrainAutoencoder, context: StageContext) -> StageResult:
        """Train to the end, from the newest checkpoint if there is one."""
        from rayograph.trainer.autoencoder_training import run_train_autoencoder

        return run_train_autoencoder(context, declared)
