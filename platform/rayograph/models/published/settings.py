"""What a published configuration says that weights do not: the YAML beside a checkpoint. Its class names are not used.

model.params.unet_config.params      num_heads or num_head_channels; image_size, the latents' side
model.params                         linear_start, linear_end, timesteps, beta_schedule, parameterization, scale_factor
model.params[.first_stage_config.params].ddconfig      resolution, ch_mult; embed_dim beside
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from rayograph.config import NoiseSchedule
from rayograph.config.reading.core_yaml import load
from rayograph.errors import DataError
from rayograph.models.published.unet_layout import Heads

_SCHEDULES: Mapping[str, str] = {"linear": "scaled_linear", "sqrt_linear": "linear", "cosine": "squaredcos_cap_v2"}
"""The published "linear" is linear in the square root of beta, which the field now calls "scaled_linear"."""
_PREDICTIONS: Mapping[str, Literal["epsilon", "sample", "v_prediction"]] = {
    "eps": "epsilon",
    "x0": "sample",
    "v": "v_prediction",
}


@dataclass(frozen=True)
class FirstStageSettings:
    """None is what the configuration does not say."""

    resolution: int | None = None
    factor: int | None = None
    latent_channels: int | None = None


@dataclass(frozen=True)
class DenoiserSettings:
    """Of a latent model."""

    heads: Heads
    latent_size: int
    schedule: NoiseSchedule
    scale_factor: float
    """Where the weights have none of their own."""


@dataclass(frozen=True)
class Settings:
    """A configuration, read."""

    first_stage: FirstStageSettings = FirstStageSettings()
    denoiser: DenoiserSettings | None = None
    """None of a first stage by itself, or where there is no configuration."""


def read_settings(data: bytes, where: str) -> Settings:
    """Read a published YAML. Raises DataError naming the field that is not as published ones are."""
    try:
        params = _mapping(_mapping(load(data.decode()), "")["model"], "model")["params"]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: expected YAML: {' '.join(str(error).split())[:200]}") from error
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: expected the configuration of a published model, found no model.params") from error
    try:
        if "unet_config" not in params:
            return Settings(_first_stage(params))
        inner = params.get("first_stage_config") or {}
        return Settings(_first_stage(inner.get("params") or {}), _denoiser(params))
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where}: expected the configuration of a published model: {error}") from error


def _first_stage(params: Mapping[str, Any]) -> FirstStageSettings:
    inner = params.get("ddconfig") or {}
    levels = inner.get("ch_mult")
    return FirstStageSettings(
        _positive(inner, "resolution"),
        2 ** (len(levels) - 1) if levels else None,
        _positive(params, "embed_dim"),
    )


def _denoiser(params: Mapping[str, Any]) -> DenoiserSettings:
    inner = _mapping(params["unet_config"], "unet_config")["params"]
    size = _positive(inner, "image_size")
    if size is None:
        raise KeyError("unet_config.params.image_size")
    schedule = NoiseSchedule.model_validate({
        "num_train_timesteps": params.get("timesteps", 1000),
        "beta_schedule": _SCHEDULES.get(str(params.get("beta_schedule", "linear")), params.get("beta_schedule")),
        "beta_start": params.get("linear_start", 1e-4),
        "beta_end": params.get("linear_end", 2e-2),
        "prediction_type": _PREDICTIONS.get(str(params.get("parameterization", "eps")), params.get("parameterization")),
    })  # fmt: skip
    factor = float(params.get("scale_factor", 1.0))
    if not factor > 0:
        raise ValueError(f"scale_factor: expected a number above 0, got {factor:g}")
    return DenoiserSettings(_heads(inner), size, schedule, factor)


def _heads(params: Mapping[str, Any]) -> Heads:
    """Either is -1 where it is not said; the channels count where both are."""
    channels, number = params.get("num_head_channels", -1), params.get("num_heads", -1)
    if channels != -1:
        return Heads(channels=_positive(params, "num_head_channels"))
    if number == -1:
        raise KeyError("unet_config.params.num_heads or num_head_channels")
    return Heads(number=_positive(params, "num_heads"))


def _positive(params: Mapping[str, Any], name: str) -> int | None:
    found = params.get(name)
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found <= 0):
        raise ValueError(f"{name}: expected a whole number above 0, got {found!r}")
    return found


def _mapping(found: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise TypeError(f"{name}: expected fields")
    return found
