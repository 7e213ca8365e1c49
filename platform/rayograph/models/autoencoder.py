"""The first stage: images to moments and raw latents to images (Rombach et al. 2022, sec. 3.1).

Shapes: b batch, c image channels, h w pixels, z latent channels, y x latent grid.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from diffusers import AutoencoderKL, VQModel

from rayograph.config import Autoencoder
from rayograph.models.finite import require_finite
from rayograph.shapes import Images, Latents, Moments, Noise, Pixels, PixelTensor

LOGVAR_RANGE = (-30.0, 20.0)
"""Outside it exp(logvar) leaves float32; the same bounds as diffusers' posterior."""


FirstStage: TypeAlias = AutoencoderKL | VQModel


def build_autoencoder(declared: Autoencoder) -> FirstStage:
    """A new network with fresh weights."""
    levels = len(declared.block_out_channels)
    shared: dict[str, Any] = {
        "in_channels": declared.image_channels,
        "out_channels": declared.image_channels,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": declared.block_out_channels,
        "layers_per_block": declared.layers_per_block,
        "act_fn": "silu",
        "latent_channels": declared.latent_channels,
        "norm_num_groups": declared.norm_num_groups,
        "scaling_factor": 1.0,  # the scale is measured over the encoded data and kept as latents_mean, latents_std
        "mid_block_add_attention": declared.mid_block_add_attention,
    }
    if declared.codebook_size is None:
        return AutoencoderKL(**shared)
    return VQModel(
        **shared,
        num_vq_embeddings=declared.codebook_size,
        vq_embed_dim=declared.latent_channels,
        norm_type="group",
        lookup_from_codebook=False,
    )


def is_quantised(autoencoder: FirstStage) -> bool:
    """Whether it has a codebook."""
    return isinstance(autoencoder, VQModel)


def encode(autoencoder: FirstStage, images: Images) -> Moments:
    """The posterior's mean and log-variance, unscaled.

    With a codebook the mean is what comes before it, and the deviation as good as none: the codebook is then the
    decoder's first layer (Rombach et al. 2022, sec. 3.1).
    """
    if isinstance(autoencoder, VQModel):
        mean = autoencoder.encode(images).latents
        return torch.cat([mean, torch.full_like(mean, LOGVAR_RANGE[0])], dim=1)
    return autoencoder.encode(images).latent_dist.parameters


def nearest_codes(autoencoder: VQModel, raw_latents: Latents) -> Latents:
    """The code that each place is decoded from; gradients go to the codebook."""
    _, _, (_, _, numbers) = autoencoder.quantize(raw_latents)
    batch, channels, height, width = raw_latents.shape
    codes = autoencoder.quantize.embedding(numbers)
    return codes.view(batch, height, width, channels).permute(0, 3, 1, 2)


def posterior_sample(moments: Moments, noise: Noise) -> Latents:
    """Raw latents: mean + std × noise."""
    mean, logvar = moments.chunk(2, dim=1)
    return mean + torch.exp(0.5 * logvar.clamp(*LOGVAR_RANGE)) * noise


def decode(autoencoder: FirstStage, raw_latents: Latents) -> Images:
    """Images in about [-1, 1]; the network may overshoot a little."""
    return autoencoder.decode(raw_latents).sample


@torch.inference_mode()
def reconstruct(
    autoencoder: FirstStage, pixels: Pixels, batch_size: int = 64, names: Sequence[str] | None = None
) -> Pixels:
    """Pixels through the bottleneck and back, by the posterior's mean.

    Raises NonFiniteError by name, of `names`, for what comes back as no picture.
    """
    names = [f"image {row}" for row in range(len(pixels))] if names is None else names
    where = next(autoencoder.parameters()).device
    made = []
    for start in range(0, len(pixels), batch_size):
        mean, _ = encode(autoencoder, to_images(torch.from_numpy(pixels[start : start + batch_size]).to(where))).chunk(
            2, 1
        )
        images = decode(autoencoder, mean)
        require_finite("reconstructions", names[start : start + batch_size], images)
        made.append(to_pixels(images).numpy())
    return np.concatenate(made)


def to_images(pixels: PixelTensor) -> Images:
    """uint8 pixels, channels last, to images in [-1, 1], channels first."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_pixels(images: Images) -> PixelTensor:
    """Images to uint8 pixels on the CPU, channels last, rounded; overshoot is cut off."""
    return ((images.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
