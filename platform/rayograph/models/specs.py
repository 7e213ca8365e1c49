"""What a network takes and gives, known without building it: all that the rest of the house asks of one.

A model folder tells it by its configuration: in diffusers' form by the class that it names, else as it was written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayograph.config.job.conditioners import Ways
from rayograph.errors import CheckpointError

__all__ = ["Accepts", "AutoencoderSpec", "DenoiserSpec", "LatentShape", "Ways", "autoencoder_spec", "denoiser_spec"]

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
class LatentShape:
    """Of the latents that a denoiser is trained on. Images had sides of `side` × `factor`, the first stage's f."""

    channels: int
    side: int
    factor: int = 1


@dataclass(frozen=True)
class Accepts:
    """The ways in of a denoiser's `Conditioning`: widths, None or 0 for those that it does not have."""

    vector: int | None = None
    cross_attention: int | None = None
    concat: int = 0

    @property
    def ways(self) -> Ways:
        """What a conditioner gives that feeds them all."""
        return Ways(self.vector is not None, self.cross_attention is not None, self.concat)


@dataclass(frozen=True)
class DenoiserSpec:
    """Of a denoiser. Latents have `in_channels`, without those of `accepts.concat`, and in training sides of `size`,
    which it samples at unless told."""

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
            widths, channels = config["block_out_channels"], config.get("out_channels", config["in_channels"])
            accepts = Accepts(vector=4 * widths[0], concat=max(config["in_channels"] - channels, 0))
            return DenoiserSpec(channels, config["sample_size"], 2 ** (len(widths) - 1), accepts)
        case "UNet2DConditionModel":
            return _condition_spec(config)
        case other:
            raise CheckpointError(f"expected a denoiser's configuration, got one of {other!r}")


_OTHER_INPUTS = ("addition_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim", "num_class_embeds")
"""What makes a UNet2DConditionModel want more than latents, timesteps, tokens, a vector and channels."""


def _condition_spec(config: Mapping[str, Any]) -> DenoiserSpec:
    for field in _OTHER_INPUTS:
        if config.get(field) is not None:
            raise CheckpointError(f"expected a UNet2DConditionModel without {field}, got {config[field]!r}")
    widths, tokens, told = config["block_out_channels"], config["cross_attention_dim"], config.get("class_embed_type")
    if not isinstance(tokens, int):
        raise CheckpointError(f"expected a UNet2DConditionModel of one cross_attention_dim, got {tokens!r}")
    if told not in (None, "identity"):
        raise CheckpointError(f"expected a UNet2DConditionModel of class_embed_type 'identity' or none, got {told!r}")
    channels = config["out_channels"]
    accepts = Accepts(None if told is None else 4 * widths[0], tokens, max(config["in_channels"] - channels, 0))
    return DenoiserSpec(channels, config["sample_size"], 2 ** (len(widths) - 1), accepts)


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
