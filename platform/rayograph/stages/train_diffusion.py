"""The stage `train_diffusion`: latents to a diffusion model (trainer/diffusion_training.py)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rayograph.conditioning.protocol import Conditioner
from rayograph.config import FlowSchedule, Identity, TrainDiffusion
from rayograph.config.batches import worker_counts
from rayograph.config.kinds import imported
from rayograph.errors import ConfigError
from rayograph.models.specs import LatentShape
from rayograph.runs.digests import digest_of
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.stages.seen_images import foreseen_size
from rayograph.stages.stage import CheckContext, Foreseen, Stage
from rayograph.storage import Access
from rayograph.training.cost import Cost


class TrainDiffusionStage(Stage[TrainDiffusion]):
    """Latents to a diffusion model, complete with its first stage."""

    def check(self, declared: TrainDiffusion, context: CheckContext) -> None:
        """Raise ConfigError where no number of workers suits the batch, or the network not what it is given."""
        worker_counts(declared, context.scale.training)
        grid = self._grid(declared, context)
        if grid is not None:
            with _network_of(context):
                declared.network.require_grid(grid)
        known = [learned.class_names for learned in context.mixture(_field(declared))]
        facts = [{"class_names": names} for names in known if names is not None]
        conditioners = [self._conditioner(declared, context, one) for one in facts]
        if not facts and not declared.conditioning.needs_data:
            conditioners = [self._conditioner(declared, context, None)]
        latents = self._latents(declared, context)
        if latents is not None:
            for conditioner in conditioners:
                with _network_of(context):
                    declared.network.require_ways(conditioner.gives(latents))

    def source_digest(self, declared: TrainDiffusion, access: Access) -> str | None:
        """Digest the files that conditions name, as a tokenizer's; nothing where they name none."""
        conditions = [one for one in declared.conditioning.studied if one.digested_by]
        digests = [imported(condition.digested_by)(condition, access) for condition in conditions]
        return digest_of(digests) if any(digests) else None

    def foresee(self, declared: TrainDiffusion, context: CheckContext) -> Foreseen:
        """Return what the model can be asked for."""
        names = context.input(_field(declared)).class_names
        if names is None and declared.conditioning.needs_data:
            return Foreseen(decided_by=context.name)
        conditioner = self._conditioner(declared, context, None if names is None else {"class_names": names})
        known = Foreseen(class_names=names if "class_names" in conditioner.facts else (), decided_by=context.name)
        seen = self._seen(declared, context)
        side, factor = seen.image_size, seen.downsampling_factor
        if side is None or factor is None:
            return known
        schedule = declared.noise_schedule
        multiple = factor * declared.network.size_multiple
        steps, flow = schedule.num_train_timesteps, isinstance(schedule, FlowSchedule)
        return replace(known, model=ModelSpec(conditioner, side, multiple, steps, flow))

    def estimate(self, declared: TrainDiffusion, context: CheckContext) -> Cost:
        """Count on the first stage's latents. Raises ConfigError where the job does not say them."""
        latents = self._latents(declared, context)
        if self._seen(declared, context).latent_channels is None:
            raise ConfigError(
                f"{context.name}.autoencoder: expected a stage of this job to tell its latents by, got "
                f"{declared.autoencoder}"
            )
        if latents is None:
            where = declared.autoencoder or context.name
            raise ConfigError(f"{where}.view.image_size: expected a size, as the job does not say that of its images")
        from rayograph.conditioning.settled import settled
        from rayograph.training.estimate import diffusion_cost

        if not declared.conditioning.needs_data:
            return diffusion_cost(declared, latents)
        counted, _ = settled(context.name, declared, [{"class_names": ("one",)}])
        note = "num_classes auto: counted with one class; the data tells how many, once it is packed"
        return replace(diffusion_cost(counted, latents), notes=(note,))

    def check_cluster(self, declared: TrainDiffusion, context: StageContext) -> None:
        """Require room for the fewest workers."""
        from rayograph.trainer.elastic import Room

        Room(context.scale, worker_counts(declared, context.scale.training)).require(context.name)

    def run(self, declared: TrainDiffusion, context: StageContext) -> StageResult:
        """Train to the end, from the newest checkpoint if there is one."""
        from rayograph.trainer.diffusion_training import run_train_diffusion

        return run_train_diffusion(context, declared)

    def _conditioner(
        self, declared: TrainDiffusion, context: CheckContext, facts: Mapping[str, Any] | None
    ) -> Conditioner:
        """What the denoiser is told, of data of these facts; None where they are not known yet."""
        from rayograph.conditioning.settled import settled
        from rayograph.conditioning.trained import conditioner_of

        if facts is None:
            return conditioner_of(declared.conditioning, None)
        return settled(context.name, declared, [facts])[1]

    def _seen(self, declared: TrainDiffusion, context: CheckContext) -> Foreseen:
        """Return the size of images, and what the first stage, or none, makes of them."""
        if declared.images is None:
            first_stage = context.input("autoencoder")
            sides = [moments.image_size for moments in context.mixture("moments") if moments.image_size is not None]
            # An autoencoder may have been trained at another size than images are encoded at.
            return replace(first_stage, image_size=sides[0]) if sides else first_stage
        pixels = Identity()
        first_stage = Foreseen(downsampling_factor=pixels.downsampling_factor, latent_channels=pixels.latent_channels)
        if declared.autoencoder is not None:
            first_stage = context.input("autoencoder")
        return replace(
            foreseen_size(declared.view, context),
            downsampling_factor=first_stage.downsampling_factor,
            latent_channels=first_stage.latent_channels,
        )

    def _grid(self, declared: TrainDiffusion, context: CheckContext) -> int | None:
        """Side of the latents, in cells."""
        seen = self._seen(declared, context)
        if seen.image_size is None or seen.downsampling_factor is None:
            return None
        if declared.images is not None and seen.image_size % seen.downsampling_factor:
            raise ConfigError(
                f"{context.name}.view.image_size: f = {seen.downsampling_factor} needs a size divisible by it, got "
                f"{seen.image_size}"
            )
        return seen.image_size // seen.downsampling_factor

    def _latents(self, declared: TrainDiffusion, context: CheckContext) -> LatentShape | None:
        """Of one sample; None where not all of it is known yet."""
        side, seen = self._grid(declared, context), self._seen(declared, context)
        if side is None or seen.latent_channels is None or seen.downsampling_factor is None:
            return None
        return LatentShape(seen.latent_channels, side, seen.downsampling_factor)


@contextmanager
def _network_of(context: CheckContext) -> Iterator[None]:
    """Name the stage whose network a finding is about."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{context.name}.network.{error}") from error


def _field(declared: TrainDiffusion) -> str:
    """The input that is learned."""
    return "moments" if declared.images is None else "images"
