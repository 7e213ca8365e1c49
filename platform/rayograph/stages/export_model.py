"""The stage `export_model`: weights out of a training's checkpoints, as a model that every later stage takes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rayograph.config import ExportModel, TrainAutoencoder, TrainDiffusion
from rayograph.errors import ConfigError, DataError, StorageError
from rayograph.runs.artifact import RESOLVED, Artifact
from rayograph.runs.job_record import JobRecord, read_job
from rayograph.runs.lineage import address, find
from rayograph.runs.manifest import Parent
from rayograph.runs.stage_context import StageContext, begun
from rayograph.runs.stage_result import StageResult
from rayograph.stages.stage import CheckContext, Foreseen, Stage, stage_of
from rayograph.storage import Access, open_store

if TYPE_CHECKING:
    from torch import Tensor

    from rayograph.training.checkpoints.averaged_weights import AveragedWeights

Recipe = TrainAutoencoder | TrainDiffusion


class ExportModelStage(Stage[ExportModel]):
    """A training's checkpoint to an autoencoder or a diffusion model."""

    def check(self, declared: ExportModel, context: CheckContext) -> None:
        """Raise ConfigError for an average that the training does not keep, CheckpointError for no such checkpoint."""
        if declared.sha256 is not None:
            return
        try:
            _found(declared, context.scale.access)
        except ConfigError as error:
            raise ConfigError(f"{context.name}.{error}") from None

    def source_digest(self, declared: ExportModel, access: Access) -> str:
        """The declared one, or that of the checkpoint's files as its commit lists them."""
        return declared.sha256 or _found(declared, access).digest

    def foresee(self, declared: ExportModel, context: CheckContext) -> Foreseen:
        """What was foreseen of the training's own result; nothing where it is gone."""
        try:
            record = read_job(Artifact(open_store(declared.uri, context.scale.access), ""))
        except (DataError, StorageError):
            return Foreseen(decided_by=context.name)
        known = stage_of(record.declared).foresee(
            record.declared, CheckContext(record.job, context.scale, record.stage)
        )
        return replace(known, decided_by=context.name)

    def run(self, declared: ExportModel, context: StageContext) -> StageResult:
        """Make the model. Raises DataError where the checkpoint is not the one that the key was made of."""
        from rayograph.models.model_folder import save_model

        access = context.scale.access
        artifact, record, recipe = training_at(declared.uri, access)
        training = begun(artifact, replace(record, scale=context.scale), access)
        if training is None:
            raise DataError(f"{declared.uri}: expected a training that says what it reads, as those of this version do")
        found = _found(declared, access)
        if found.digest != context.source:
            raise DataError(f"{declared.uri}: expected checkpoint files of sha256 {context.source}, got {found.digest}")
        for folder, model in models_of(training, recipe, found.read(engine_of(recipe))):
            save_model(context.artifact, folder, model)
        facts = _facts(training, recipe, context) | {"images_seen": found.images_seen, "shares": found.shares}
        facts |= {"training": address(context.artifact, artifact), "source": found.digest}
        parents = [
            Parent(
                input=f"training.{parent.input}",
                uri=address(context.artifact, find(artifact, parent.uri, parent.digest, access)),
                digest=parent.digest,
            )
            for parent in training.parents()
        ]
        headline = f"{found.images_seen:,} images, sha256 {found.digest}"
        return StageResult(context.artifact.records("model/"), facts=facts, parents=parents, headline=headline)


def training_at(uri: str, access: Access) -> tuple[Artifact, JobRecord, Recipe]:
    """Return a training's artifact, what its job file says, and its declaration. Raises DataError for anything else."""
    artifact = Artifact(open_store(uri, access), "")
    if not artifact.store.exists(RESOLVED):
        raise DataError(f"{uri}: expected a training's artifact, <store>/<job>/<stage>/<key>, found no {RESOLVED}")
    record = read_job(artifact)
    recipe = record.declared
    if not isinstance(recipe, TrainAutoencoder | TrainDiffusion):
        raise DataError(f"{uri}: expected a training, got a stage of kind {recipe.kind}")
    return artifact, record, recipe


def engine_of(recipe: Recipe) -> str:
    """Return what the network whose weights are a model's is called among a checkpoint's."""
    from rayograph.training.autoencoder_learner import AUTOENCODER_ENGINE
    from rayograph.training.diffusion_learner import DENOISER_ENGINE

    return AUTOENCODER_ENGINE if isinstance(recipe, TrainAutoencoder) else DENOISER_ENGINE


def models_of(training: StageContext, recipe: Recipe, weights: "Mapping[str, Tensor]") -> Iterator[tuple[str, Any]]:
    """Yield (folder, model) pairs of weights by the engine's names: all that the training's own result holds."""
    from rayograph.models.model_folder import AUTOENCODER
    from rayograph.trainer.learned_data import learned_data
    from rayograph.training.autoencoder_learner import autoencoder_models
    from rayograph.training.diffusion_learner import diffusion_models

    if isinstance(recipe, TrainAutoencoder):
        yield from autoencoder_models(recipe, weights)
        return
    learned = learned_data(training, recipe)
    autoencoder = learned.first_stage()
    learned.normalisation.keep_in(autoencoder)
    yield AUTOENCODER, autoencoder
    yield from diffusion_models(learned.declared, weights, learned.latents)


def _found(declared: ExportModel, access: Access) -> "AveragedWeights":
    """Raises ConfigError from the field on, CheckpointError or DataError naming the training."""
    from rayograph.training.checkpoints.averaged_weights import kept_average, solved_average

    artifact, _, recipe = training_at(declared.uri, access)
    if recipe.output is not declared.output:
        raise ConfigError(f"makes: expected {recipe.output.value!r}, which {declared.uri} is, got {declared.makes!r}")
    if declared.length is None:
        return kept_average(artifact, recipe, declared.average, declared.images_seen)
    return solved_average(artifact, recipe, declared.length, declared.images_seen)


def _facts(training: StageContext, recipe: Recipe, context: StageContext) -> dict[str, Any]:
    """What later stages ask of the training's own result."""
    from rayograph.trainer.dataset import seen_size
    from rayograph.trainer.learned_data import learned_data

    if isinstance(recipe, TrainAutoencoder):
        return {
            "image_size": seen_size(recipe.view, training),
            "downsampling_factor": recipe.network.downsampling_factor,
        }
    return {"class_names": []} | learned_data(training, recipe).conditioner.facts
