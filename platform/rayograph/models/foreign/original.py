"""Published checkpoints as files: `model.ckpt` or `model.safetensors`, and the YAML beside it.

They are no part of an artifact: they lie below `original/` until what diffusers opens is made of them.
"""

import shutil
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from rayograph.config.stage_base import ArtifactType
from rayograph.errors import DataError
from rayograph.models.foreign.file import ForeignFile
from rayograph.models.layout import CONFIG
from rayograph.models.published.settings import Settings, read_settings
from rayograph.storage import ObjectStore

ORIGINAL = "original"
SUFFIXES = (".ckpt", ".pt", ".pth", ".safetensors")
_YAMLS = (".yaml", ".yml")
_OF_DIFFUSERS = "diffusion_pytorch_model"
_PIPELINE = "model_index.json"


def checkpoint_in(store: ObjectStore, names: Collection[str]) -> str | None:
    """Return the one published checkpoint at the top of a folder; None where it holds what diffusers saved, or nothing.

    Raises DataError where there are several.
    """
    top = {name for name in names if "/" not in name}
    if CONFIG in top or _PIPELINE in top:
        return None
    found = sorted(name for name in top if name.endswith(SUFFIXES) and not name.startswith(_OF_DIFFUSERS))
    if len(found) > 1:
        raise DataError(f"{store.uri}: expected one checkpoint, got {', '.join(found)}: name the file")
    return found[0] if found else None


def configuration_of(store: ObjectStore, checkpoint: str, names: Collection[str] | None = None) -> str | None:
    """Return the YAML beside a checkpoint: of its name, config.yaml, or of a folder's `names` the only one there is.

    Raises DataError where it cannot be told which.
    """
    stem = PurePosixPath(checkpoint).stem
    likely = [f"{each}{suffix}" for each in (stem, "config") for suffix in _YAMLS]
    for name in likely:
        if name in names if names is not None else store.exists(name):
            return name
    others = sorted(name for name in names or () if "/" not in name and name.endswith(_YAMLS))
    if len(others) > 1:
        raise DataError(
            f"{store.uri}: expected {stem}.yaml or config.yaml beside {checkpoint}, got {', '.join(others)}"
        )
    return others[0] if others else None


def original_files(
    store: ObjectStore, checkpoint: str, configuration: str | None, makes: ArtifactType
) -> list[ForeignFile]:
    """Return what an artifact of this type is made of. Raises DataError for a latent model without its YAML."""
    files = [ForeignFile(checkpoint, f"{ORIGINAL}/model{PurePosixPath(checkpoint).suffix}")]
    if configuration is not None:
        files.append(ForeignFile(configuration, f"{ORIGINAL}/{PurePosixPath(CONFIG).stem}.yaml"))
    if makes is ArtifactType.DIFFUSION_MODEL and settings_in(store, configuration).denoiser is None:
        raise DataError(
            f"{store.uri}/{checkpoint}: expected the published configuration of a latent model beside it, such as "
            f"config.yaml, found {configuration or 'none'}: no weight tells the number of heads"
        )
    return files


def settings_in(store: ObjectStore, configuration: str | None) -> Settings:
    """Read what the YAML says; nothing without one."""
    if configuration is None:
        return Settings()
    return read_settings(store.read(configuration), store.uri_of(configuration))


def converted(folder: Path, makes: ArtifactType, uri: str) -> list[str]:
    """Make of a copy's `original/` what diffusers opens; return what has to be said of it.

    Raises DataError naming weights that are missing or have no place.
    """
    from rayograph.models.published.accounting import some
    from rayograph.models.published.folders import write_first_stage, write_latent_model

    checkpoint = next(path for path in (folder / ORIGINAL).iterdir() if path.suffix in SUFFIXES)
    yaml = next((path for path in (folder / ORIGINAL).iterdir() if path.suffix in _YAMLS), None)
    notes = []
    if makes is ArtifactType.DIFFUSION_MODEL:
        conditioner = write_latent_model(checkpoint, yaml, folder, uri)
        if conditioner:
            raise DataError(
                f"{uri}: expected a model of classes or of none, got weights of a conditioner: {some(conditioner)}"
            )
    else:
        left_out = write_first_stage(checkpoint, yaml, folder, uri)
        if left_out:
            notes.append(f"{left_out} weights of a denoiser are left out: 'autoencoder' takes the first stage alone")
    shutil.rmtree(folder / ORIGINAL)
    return notes
