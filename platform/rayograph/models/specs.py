"""What a network takes and gives, known without building it: all that the rest of the house asks of one.

A model folder tells it by its configuration: in diffusers' form by the class that it names, else as it was written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayograph.errors import CheckpointError

SPEC = "spec"
"""The field of a configuration that is not in diffusers' form where a network's spec stands."""


@dataclass(frozen=True)
class AutoencoderSpec:
    """Of a first stage. `factor` is pixels a side of one latent cell: the paper's f."""

    factor: int
    image_channels: int
    latent_channels: int
    latents_mean: tuple[float, ...] | None = None
    """Of raw latents, by channel, over the data that a denoiser was trained on; None before there is one."""
    latents_std: tuple[float, ...] | None = None


def autoencoder_spec(config: Mapping[str, Any]) -> AutoencoderSpec:
    """Return what a first stage's configuration says. Raises CheckpointError for one of an unknown form."""
    if SPEC in config:
        return AutoencoderSpec(**config[SPEC] | _statistics(config[SPEC]))
    match config.get("_class_name"):
        case "AutoencoderKL" | "VQModel" | None:
            factor = 2 ** (len(config["block_out_channels"]) - 1)
            return AutoencoderSpec(factor, config["in_channels"], config["latent_channels"], **_statistics(config))
        case other:
            raise CheckpointError(f"expected an autoencoder's configuration, got one of {other!r}")


def _statistics(config: Mapping[str, Any]) -> dict[str, tuple[float, ...] | None]:
    found = {name: config.get(name) for name in ("latents_mean", "latents_std")}
    return {name: None if values is None else tuple(values) for name, values in found.items()}
