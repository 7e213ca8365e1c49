"""Where a model of others comes from, in either form: a folder that diffusers saved, or a published checkpoint."""

from dataclasses import dataclass
from typing import Any

from rayograph.config.stage_base import ArtifactType
from rayograph.errors import DataError
from rayograph.models.foreign.diffusers_folder import files_in, first_stage_config, spec_of
from rayograph.models.foreign.file import ForeignFile
from rayograph.models.foreign.original import (
    SUFFIXES,
    checkpoint_in,
    configuration_of,
    original_files,
    settings_in,
)
from rayograph.storage import Access, ObjectStore, open_store

FOREIGN_FORMAT = 1
"""Of what is made of the files: part of the digest that keys hold."""


@dataclass(frozen=True)
class ModelSource:
    """A folder, or one checkpoint in it."""

    store: ObjectStore
    checkpoint: str | None = None

    @property
    def uri(self) -> str:
        return self.store.uri if self.checkpoint is None else self.store.uri_of(self.checkpoint)


@dataclass(frozen=True)
class KnownFirstStage:
    """What is said of a first stage without opening its weights; None is what is not."""

    image_size: int | None
    factor: int | None
    latent_channels: int | None


def open_source(uri: str, access: Access = None) -> ModelSource:
    """Name the folder at `uri`, or the folder of the checkpoint that it names by its suffix."""
    if not uri.endswith(SUFFIXES):
        return ModelSource(open_store(uri, access))
    folder, slash, name = uri.rpartition("/")
    return ModelSource(open_store(folder or ("/" if slash else "."), access), name)


def files_of(source: ModelSource, makes: ArtifactType) -> list[ForeignFile]:
    """Return the files of the model that an artifact of this type is made of.

    Raises DataError, naming the folder, where it has none, or weights as a pickle that no published checkpoint is.
    """
    original = _original(source)
    if original is None:
        return files_in(source.store, makes)
    return original_files(source.store, *original, makes)


def known_of(source: ModelSource) -> KnownFirstStage:
    """Read what configurations say. Raises DataError where there are none."""
    original = _original(source)
    if original is None:
        config = first_stage_config(source.store)
        spec = spec_of(config, source.uri)
        return KnownFirstStage(sample_size(config), spec.factor, spec.latent_channels)
    settings = settings_in(source.store, original[1])
    said, size = settings.first_stage, settings.first_stage.resolution
    if settings.denoiser is not None and said.factor is not None:
        size = settings.denoiser.latent_size * said.factor
    return KnownFirstStage(size, said.factor, said.latent_channels)


def sample_size(config: dict[str, Any]) -> int | None:
    """Return the side in pixels that diffusers' configuration says, if it does."""
    size = config.get("sample_size")
    return size if isinstance(size, int) and size > 0 else None


def _original(source: ModelSource) -> tuple[str, str | None] | None:
    """A published checkpoint and its configuration; None where diffusers saved the model."""
    if source.checkpoint is not None:
        if not source.store.exists(source.checkpoint):
            raise DataError(f"{source.uri}: expected a checkpoint, found nothing")
        return source.checkpoint, configuration_of(source.store, source.checkpoint)
    names = {info.key for info in source.store.list()}
    found = checkpoint_in(source.store, names)
    return None if found is None else (found, configuration_of(source.store, found, names))
