"""The stage `import_model`: a model that others trained, copied into an artifact that every later stage takes."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rayograph.config import ImportModel
from rayograph.config.job.conditioners import ConditionerKind
from rayograph.config.stage_base import ArtifactType
from rayograph.errors import CheckpointError, ConfigError, DataError, StorageError
from rayograph.models.foreign.diffusers_folder import completed, spec_of
from rayograph.models.foreign.file import ForeignFile
from rayograph.models.foreign.model_source import FOREIGN_FORMAT, files_of, known_of, open_source, sample_size
from rayograph.models.foreign.original import ORIGINAL, converted
from rayograph.models.layout import AUTOENCODER, CONDITIONER, CONFIG
from rayograph.models.specs import LatentShape
from rayograph.runs.artifact import COPY_BYTES, Artifact
from rayograph.runs.digests import digest_of
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult, manifest_of
from rayograph.stages.stage import CheckContext, Foreseen, Stage
from rayograph.storage import Access, ObjectStore, open_store

IMAGE_CHANNELS = 3

NULL_CLASS_ASSUMED = (
    "the last of the U-Net's class embeddings is taken for the one of no class, as guidance needs it: of a model that "
    "was trained without, draw its other classes at guidance_scale 1"
)


class ImportModelStage(Stage[ImportModel]):
    """What others trained to an autoencoder or a diffusion model."""

    def source_digest(self, declared: ImportModel, access: Access) -> str:
        """The declared one, or that of the files as they are now, which are read for it."""
        if declared.sha256 is not None:
            return declared.sha256
        source = open_source(declared.uri, access)
        return _digest({file.name: _sha256(source.store, file.key) for file in files_of(source, declared.output)})

    def foresee(self, declared: ImportModel, context: CheckContext) -> Foreseen:
        """What the first stage's configuration says; nothing where the folder is gone."""
        known = Foreseen(image_size=declared.image_size, decided_by=f"{context.name}.image_size")
        try:
            found = known_of(open_source(declared.uri, context.scale.access))
        except (DataError, StorageError):
            return known
        return Foreseen(
            image_size=declared.image_size or found.image_size,
            decided_by=context.name if declared.image_size is None else f"{context.name}.image_size",
            downsampling_factor=found.factor,
            latent_channels=found.latent_channels,
        )

    def run(self, declared: ImportModel, context: StageContext) -> StageResult:
        """Copy the files, and open what they make before it counts.

        Raises DataError for a folder that is not the declared one, CheckpointError for one that cannot be opened.
        """
        source = open_source(declared.uri, context.scale.access)
        with tempfile.TemporaryDirectory(prefix="rayograph-") as place:
            files = files_of(source, declared.output)
            digest = _digest({file.name: _fetched(source.store, file, Path(place)) for file in files})
            if digest != context.source:  # not the declared ones, or changed since the key was made of them
                raise DataError(f"{source.uri}: expected files of sha256 {context.source}, got {digest}")
            published = (Path(place) / ORIGINAL).exists()
            notes = converted(Path(place), declared.output, source.uri) if published else []
            completed(Path(place), declared.output, source.uri)
            copy = Artifact(open_store(place), "")
            outcome = StageResult(files=copy.records("model/"), warnings=notes)
            with _named_after(source.uri, copy.store.uri):
                outcome.facts = _opened(declared, context, copy, outcome) | {"source": digest}
            for file in outcome.files:
                context.artifact.write(file.path, (Path(place) / file.path).read_bytes())
        outcome.headline = f"sha256 {digest}"
        within = not any(file.path.startswith(CONDITIONER) for file in outcome.files)
        if outcome.facts.get("class_names") and (published or within):
            outcome.warnings.append(NULL_CLASS_ASSUMED)
        return outcome


def _opened(declared: ImportModel, context: StageContext, copy: Artifact, outcome: StageResult) -> dict[str, Any]:
    """What later stages ask of the artifact. Raises CheckpointError for a model that is not of a kind we make."""
    from rayograph.conditioning.trained import declared_conditioner
    from rayograph.models.model_folder import load_autoencoder
    from rayograph.sampling.pipeline import DiffusionModel

    config = json.loads(copy.read(f"{AUTOENCODER}/{CONFIG}"))
    spec = spec_of(config, declared.uri)
    facts: dict[str, Any] = {
        "image_size": _image_size(declared, context.name, config, spec.factor),
        "downsampling_factor": spec.factor,
        "latent_channels": spec.latent_channels,
    }
    if declared.output is ArtifactType.DIFFUSION_MODEL:
        facts["class_names"] = _class_names(declared, context.name, declared_conditioner(copy))
    copy.commit(manifest_of(context, replace(outcome, facts=facts), 0.0))
    load_autoencoder(copy)
    if spec.image_channels != IMAGE_CHANNELS:
        raise CheckpointError(f"{copy.uri}: expected an autoencoder of 3 image channels, got {spec.image_channels}")
    if declared.output is ArtifactType.DIFFUSION_MODEL:
        model = DiffusionModel.load(copy, "cpu")
        takes, channels = model.denoiser.spec, model.denoiser.spec.in_channels
        if channels != spec.latent_channels:
            raise CheckpointError(
                f"{copy.uri}: expected a denoiser of the autoencoder's {spec.latent_channels} latent channels, got one "
                f"of {channels}"
            )
        given = model.conditioner.conditioner.gives(LatentShape(channels, takes.size, spec.factor))
        if given.concat != takes.accepts.concat:
            raise CheckpointError(
                f"{copy.uri}: expected a conditioner of the {takes.accepts.concat} channels that the denoiser takes "
                f"beside the latents', got one of {given.concat}"
            )
    return facts


def _class_names(declared: ImportModel, name: str, conditioner: ConditionerKind) -> list[str]:
    classes = getattr(conditioner, "num_classes", 0)
    if declared.class_names and len(declared.class_names) != classes:
        raise ConfigError(f"{name}.class_names: expected {classes}, as the model has, got {len(declared.class_names)}")
    return list(declared.class_names) or [str(number) for number in range(classes)]


def _image_size(declared: ImportModel, name: str, config: dict[str, Any], factor: int) -> int:
    size = declared.image_size or sample_size(config)
    if size is None:
        raise ConfigError(f"{name}.image_size: expected a size, as the autoencoder's configuration says none")
    if size % factor:
        raise ConfigError(f"{name}.image_size: f = {factor} needs an image size divisible by it, got {size}")
    return size


@contextmanager
def _named_after(uri: str, place: str) -> Iterator[None]:
    """Name the folder that a model comes from, not the copy that was opened."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(place, uri)) from error


def _fetched(store: ObjectStore, file: ForeignFile, folder: Path) -> str:
    """The file's sha256, once it lies in the folder under its name."""
    target = folder / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    found = hashlib.sha256()
    with target.open("wb") as out:
        for data in _parts(store, file.key):
            found.update(data)
            out.write(data)
    return found.hexdigest()


def _sha256(store: ObjectStore, key: str) -> str:
    found = hashlib.sha256()
    for data in _parts(store, key):
        found.update(data)
    return found.hexdigest()


def _parts(store: ObjectStore, key: str) -> Iterator[bytes]:
    size = store.size(key)
    for start in range(0, size, COPY_BYTES):
        yield store.read_range(key, start, min(COPY_BYTES, size - start))


def _digest(files: dict[str, str]) -> str:
    return digest_of({"format": FOREIGN_FORMAT, "files": sorted(files.items())})
