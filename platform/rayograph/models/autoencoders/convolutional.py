"""The paper's first stages of fresh weights, with either regulariser (Rombach et al. 2022, sec. 3.1)."""

from typing import Any

from diffusers import AutoencoderKL, VQModel

from rayograph.config import Autoencoder
from rayograph.models.autoencoder import AutoencoderNetwork
from rayograph.models.autoencoders.kl import KLAutoencoder
from rayograph.models.autoencoders.vq import VQAutoencoder


def build(declared: Autoencoder) -> AutoencoderNetwork:
    """Build diffusers' AutoencoderKL, or with a codebook its VQModel."""
    attends = [level in declared.attention_levels for level in range(len(declared.block_out_channels))]
    shared: dict[str, Any] = {
        "in_channels": declared.image_channels,
        "out_channels": declared.image_channels,
        "down_block_types": tuple("AttnDownEncoderBlock2D" if each else "DownEncoderBlock2D" for each in attends),
        "up_block_types": tuple("AttnUpDecoderBlock2D" if each else "UpDecoderBlock2D" for each in attends[::-1]),
        "block_out_channels": declared.block_out_channels,
        "layers_per_block": declared.layers_per_block,
        "act_fn": "silu",
        "latent_channels": declared.latent_channels,
        "norm_num_groups": declared.norm_num_groups,
        "scaling_factor": 1.0,  # the scale is measured over the encoded data and kept as latents_mean, latents_std
        "mid_block_add_attention": declared.mid_block_add_attention,
    }
    if declared.codebook_size is None:
        return KLAutoencoder(AutoencoderKL(**shared))
    return VQAutoencoder(
        VQModel(
            **shared,
            num_vq_embeddings=declared.codebook_size,
            vq_embed_dim=declared.latent_channels,
            norm_type="group",
            lookup_from_codebook=False,
        )
    )
