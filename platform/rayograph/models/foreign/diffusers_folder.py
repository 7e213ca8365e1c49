"""Folders that diffusers saved elsewhere: which of their files are a model, and what the model is called here.

    config.json, diffusion_pytorch_model.safetensors       an autoencoder
    model_index.json, vae/ or vqvae/, unet/, scheduler/    a pipeline

Weights are safetensors, whole, in shards with their index, or of one variant (`….fp16.safetensors`), which loses its
suffix here. A pickle is never read. What rayograph itself exported comes in too, its conditioner beside.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from rayograph.config.stage_base import ArtifactType
from rayograph.errors import CheckpointError, DataError, MissingObjectError
from rayograph.models.foreign.file import ForeignFile
from rayograph.models.layout import AUTOENCODER, CONFIG, DENOISER, SCHEDULE, SCHEDULER_CONFIG
from rayograph.models.specs import SPEC, AutoencoderSpec, autoencoder_spec
from rayograph.storage import ObjectStore

_CONDITIONER, _DECLARED_WEIGHTS = "conditioner/", "model.safetensors"
_WEIGHTS = "diffusion_pytorch_model"
_SAFE = ".safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_VARIANT = re.compile(rf"{_WEIGHTS}\.([A-Za-z0-9]+)\.safetensors")
_FIRST_STAGES = ("", "vae/", "vqvae/")
_AS_TRAINED = ("DDPMScheduler", "FlowMatchEulerDiscreteScheduler")
_NOISE_SCHEDULES = (
    "DDIMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler",
    "HeunDiscreteScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
"""Whose configurations say by the same fields how noise was added in training."""
_TRAINED_BY = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "rescale_betas_zero_snr",
)  # fmt: skip


def files_in(store: ObjectStore, makes: ArtifactType) -> list[ForeignFile]:
    """Return the files of the model at the store's URI that an artifact of this type is made of.

    Raises DataError, naming the folder, where it has none, or weights as a pickle alone.
    """
    names = {info.key for info in store.list()}
    first_stage = _first_stage(store, names)
    files = list(_network(store, names, first_stage, AUTOENCODER))
    if makes is not ArtifactType.DIFFUSION_MODEL:
        return files
    if not first_stage or "unet/config.json" not in names or f"scheduler/{SCHEDULER_CONFIG}" not in names:
        raise DataError(f"{store.uri}: expected a pipeline with vae, unet and scheduler, found {_some(names)}")
    files += _network(store, names, "unet/", DENOISER)
    files.append(ForeignFile(f"scheduler/{SCHEDULER_CONFIG}", f"{SCHEDULE}/{SCHEDULER_CONFIG}"))
    beside = (f"{_CONDITIONER}{CONFIG}", f"{_CONDITIONER}{_DECLARED_WEIGHTS}")
    return files + [ForeignFile(name, f"model/{name}") for name in beside if name in names]


def first_stage_config(store: ObjectStore) -> dict[str, Any]:
    """Read the autoencoder's configuration. Raises DataError where there is none."""
    folder = _first_stage(store, {f"{place}{CONFIG}" for place in _FIRST_STAGES if store.exists(f"{place}{CONFIG}")})
    return _json(store.read(f"{folder}{CONFIG}"), store.uri_of(f"{folder}{CONFIG}"))


def spec_of(config: dict[str, Any], where: str) -> AutoencoderSpec:
    """Return what an autoencoder's configuration says. Raises DataError for one that is not of a kind we know."""
    try:
        return autoencoder_spec(config)
    except (CheckpointError, KeyError, TypeError) as error:
        raise DataError(f"{where}: {error if isinstance(error, CheckpointError) else f'expected {error}'}") from error


def completed(folder: Path, makes: ArtifactType, uri: str) -> None:
    """Make of the configurations of a copy of `uri` what a model folder of ours says.

    Without the place that a model was loaded from; a diffusion model's latents by mean and deviation, which diffusers
    says as `scaling_factor` and `shift_factor`; and a schedule as it was trained with, whatever it was sampled by.
    Raises DataError for a denoiser or a schedule of another kind.
    """
    for path in sorted(folder.rglob("*config.json")):
        where = f"{uri}: {path.parent.name}/{path.name}"
        config = _json(path.read_bytes(), where)
        config.pop("_name_or_path", None)
        if makes is ArtifactType.DIFFUSION_MODEL and path.parent.name == "vae":
            config = _with_statistics(config, where)
        told = (path.parent.parent / _CONDITIONER / CONFIG).exists()
        taken = ("UNet2DModel", "UNet2DConditionModel") if told else ("UNet2DModel",)
        if path.parent.name == "unet" and SPEC not in config and config.get("_class_name") not in taken:
            got = config.get("_class_name")
            raise DataError(f"{where}: expected a UNet2DModel, got {got!r}: 'autoencoder' takes a pipeline's vae alone")
        if path.name == SCHEDULER_CONFIG:
            config = _as_trained(config, where)
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _with_statistics(config: dict[str, Any], where: str) -> dict[str, Any]:
    """latents = (raw - shift) × scaling, so that the mean is the shift, the deviation what the scaling takes away."""
    if SPEC in config or config.get("latents_mean") is not None:
        return config
    channels, scaling = spec_of(config, where).latent_channels, config.get("scaling_factor")
    if not isinstance(scaling, int | float) or not scaling > 0:
        raise DataError(f"{where}: expected a scaling_factor above 0, got {scaling!r}")
    shift = config.get("shift_factor") or 0.0
    return config | {"latents_mean": [shift] * channels, "latents_std": [1.0 / scaling] * channels}


def _as_trained(config: dict[str, Any], where: str) -> dict[str, Any]:
    name = config.get("_class_name")
    if name in _AS_TRAINED:
        return config
    if name not in _NOISE_SCHEDULES:
        raise DataError(f"{where}: expected one of {', '.join((*_AS_TRAINED, *_NOISE_SCHEDULES))}, got {name!r}")
    known = {field: config[field] for field in _TRAINED_BY if field in config}
    from diffusers import DDPMScheduler

    return {"_class_name": DDPMScheduler.__name__, **DDPMScheduler(**known, clip_sample=False).config}


def _first_stage(store: ObjectStore, names: Collection[str]) -> str:
    """The autoencoder's folder, below the store."""
    for folder in _FIRST_STAGES:
        if f"{folder}{CONFIG}" in names:
            return folder
    raise DataError(
        f"{store.uri}: expected an autoencoder's {CONFIG}, or a pipeline's vae, as diffusers saves them, found "
        f"{_some(names)}"
    )


def _some(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:3]) or "nothing"


def _json(data: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected a configuration: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{where}: expected a configuration, got a {type(found).__name__}")
    return found


def _network(store: ObjectStore, names: Collection[str], folder: str, target: str) -> Iterator[ForeignFile]:
    """The configuration and the weights of one network."""
    if f"{folder}{CONFIG}" not in names:
        raise DataError(f"{store.uri}/{folder.rstrip('/')}: expected {CONFIG}, found none")
    yield ForeignFile(f"{folder}{CONFIG}", f"{target}/{CONFIG}")
    if SPEC in _json(store.read(f"{folder}{CONFIG}"), store.uri_of(f"{folder}{CONFIG}")):  # one of ours
        if f"{folder}{_DECLARED_WEIGHTS}" in names:
            yield ForeignFile(f"{folder}{_DECLARED_WEIGHTS}", f"{target}/{_DECLARED_WEIGHTS}")
        return
    here = {name.removeprefix(folder) for name in names if name.startswith(folder)}
    for name in _weights(store, folder, {name for name in here if "/" not in name}):
        plain = _VARIANT.fullmatch(name)
        yield ForeignFile(f"{folder}{name}", f"{target}/{name if plain is None else _WEIGHTS + _SAFE}")


def _weights(store: ObjectStore, folder: str, here: Collection[str]) -> list[str]:
    where = f"{store.uri}/{folder}".rstrip("/")
    index = f"{_WEIGHTS}{_SAFE}.index.json"
    if f"{_WEIGHTS}{_SAFE}" in here:
        return [f"{_WEIGHTS}{_SAFE}"]
    if index in here:
        shards = _shards(store, f"{folder}{index}")
        missing = sorted(shards - set(here))
        if missing:
            raise DataError(f"{where}: expected {missing[0]}, which {index} names, found none")
        return [index, *sorted(shards)]
    variants = sorted(name for name in here if _VARIANT.fullmatch(name))
    if len(variants) > 1:
        raise DataError(f"{where}: expected {_WEIGHTS}{_SAFE} or one variant of it, got {', '.join(variants)}")
    if variants:
        return variants
    pickles = sorted(name for name in here if name.endswith(_PICKLES))
    if pickles:
        raise DataError(
            f"{where}: expected weights as safetensors, got {pickles[0]}: a pickle may run a program when it is read; "
            "save the model anew with safe_serialization=True"
        )
    raise DataError(f"{where}: expected {_WEIGHTS}{_SAFE}, found no weights")


def _shards(store: ObjectStore, key: str) -> set[str]:
    try:
        shards = set(json.loads(store.read(key))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, MissingObjectError) as error:
        raise DataError(f"{store.uri_of(key)}: expected the index of weights in shards, got {error}") from error
    for name in shards:
        if not isinstance(name, str) or "/" in name or not name.endswith(_SAFE):
            raise DataError(f"{store.uri_of(key)}: expected shards beside it as safetensors, got {name!r}")
    return shards
