"""Small models as others save them: by diffusers' own `save_pretrained`, with weights that nobody trained."""

from pathlib import Path

import torch
from diffusers import (
    AsymmetricAutoencoderKL,
    AutoencoderDC,
    AutoencoderKL,
    DDIMScheduler,
    ModelMixin,
    UNet2DModel,
    VQModel,
)

KINDS = ("AutoencoderKL", "VQModel", "AsymmetricAutoencoderKL", "AutoencoderDC")
FACTOR = 2


def autoencoder(kind: str, latent_channels: int = 2, sample_size: int = 16) -> ModelMixin:
    """f = 2."""
    torch.manual_seed(0)
    down, up = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
    match kind:
        case "AutoencoderKL":
            return AutoencoderKL(
                down_block_types=down, up_block_types=up, block_out_channels=(8, 8), norm_num_groups=4,
                latent_channels=latent_channels, sample_size=sample_size, scaling_factor=0.5, shift_factor=0.25,
            )  # fmt: skip
        case "VQModel":
            return VQModel(
                down_block_types=down, up_block_types=up, block_out_channels=(8, 8), norm_num_groups=4,
                latent_channels=latent_channels, sample_size=sample_size, num_vq_embeddings=16, scaling_factor=0.5,
            )  # fmt: skip
        case "AsymmetricAutoencoderKL":
            return AsymmetricAutoencoderKL(
                down_block_types=down, up_block_types=up, down_block_out_channels=(8, 8), up_block_out_channels=(8, 16),
                norm_num_groups=4, latent_channels=latent_channels, sample_size=sample_size,
            )  # fmt: skip
        case _:
            return AutoencoderDC(
                latent_channels=latent_channels, attention_head_dim=8,
                encoder_block_out_channels=(8, 16), decoder_block_out_channels=(8, 16),
                encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1),
                encoder_qkv_multiscales=((), ()), decoder_qkv_multiscales=((), ()),
            )  # fmt: skip


def save_autoencoder(folder: Path, kind: str, **options: object) -> Path:
    """Write one as diffusers does."""
    autoencoder(kind).save_pretrained(folder, **options)
    return folder


def save_pipeline(folder: Path, kind: str = "AutoencoderKL", classes: int | None = 4, latent_channels: int = 2) -> Path:
    """Write vae, unet and scheduler, and what says that they are a pipeline."""
    autoencoder(kind).save_pretrained(folder / ("vqvae" if kind == "VQModel" else "vae"))
    torch.manual_seed(1)
    UNet2DModel(
        sample_size=8, in_channels=latent_channels, out_channels=latent_channels, block_out_channels=(8, 16),
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, layers_per_block=1, norm_num_groups=4,
        num_class_embeds=classes, add_attention=False,
    ).save_pretrained(folder / "unet")  # fmt: skip
    DDIMScheduler(beta_start=0.0015, beta_end=0.0195, prediction_type="v_prediction").save_pretrained(
        folder / "scheduler"
    )
    (folder / "model_index.json").write_text('{"_class_name": "LDMPipeline"}')
    return folder
