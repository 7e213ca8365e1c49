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


@dataclass(frozen=True)
class Accepts:
    """The ways in of a denoiser's `Conditioning`: widths, None or 0 for those that it does not have."""

    vector: int | None = None
    cross_attention: int | None = None
    concat: int = 0


@dataclass(frozen=True)
class DenoiserSpec:
    """Of a denoiser. Latents have `in_channels`, and in training sides of `size`, which it samples at unless told."""

    in_channels: int
    size: int
    size_multiple: int = 1
    """What the sides of any other latents must be multiples of."""
    accepts: Accepts = Accepts()


def denoiser_spec(config: Mapping[str, Any]) -> DenoiserSpec:
    """Return what a denoiser's configuration says. Raises CheckpointError for one of an unknown form."""
    if SPEC in config:
        return DenoiserSpec(**config[SPEC] | {"accepts": Accepts(**config[SPEC]["accepts"])})
    match config.get("_class_name"):
        case "UNet2DModel" | None:
            widths = config["block_out_channels"]
            accepts = Accepts(vector=4 * widths[0])
            return DenoiserSpec(config["in_channels"], config["sample_size"], 2 ** (len(widths) - 1), accepts)
        case other:
            raise CheckpointError(f"expected a denoiser's configuration, got one of {other!r}")


def autoencoder_spec(config: Mapping[str, Any]) -> AutoencoderSpec:
    """Return what a first stage's configuration says. Raises CheckpointError for one of an unknown form."""
    if SPEC in config:
        return AutoencoderSpec(**config[SPEC] | _statistics(config[SPEC]))
    match config.get("_class_name"):
        case "AutoencoderKL" | "VQModel" | None:
            widths, channels = config["block_out_channels"], config.get("vq_embed_dim") or config["latent_channels"]
        case "AsymmetricAutoencoderKL":
            widths, channels = config["down_block_out_channels"], config["latent_channels"]
        case "AutoencoderDC":
            widths, channels = config["encoder_block_out_channels"], config["latent_channels"]
        case other:
            raise CheckpointError(f"expected an autoencoder's configuration, got one of {other!r}")
    factor = 2 ** (len(widths) - 1)
    return AutoencoderSpec(factor, config["in_channels"], channels, **_statistics(config))


def _statistics(config: Mapping[str, Any]) -> dict[str, tuple[float, ...] | None]:
    found = {name: config.get(name) for name in ("latents_mean", "latents_std")}
    return {name: None if values is None else tuple(values) for name, values in found.items()}
