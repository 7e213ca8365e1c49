"""The second stage's network: noisy latents, timesteps and classes to a prediction (Rombach et al. 2022, sec. 3.2).

Shapes: b batch, z latent channels, y x latent grid.
"""

from diffusers import UNet2DModel

from rayograph.config import Denoiser
from rayograph.errors import ConfigError
from rayograph.shapes import Classes, Latents, Timesteps


def build_denoiser(declared: Denoiser, latent_channels: int, latent_size: int) -> UNet2DModel:
    """A new network with fresh weights. Raises ConfigError where the grid cannot be halved often enough."""
    levels = len(declared.block_out_channels)
    if latent_size % 2 ** (levels - 1):
        raise ConfigError(
            f"block_out_channels: {levels} levels need a latent grid divisible by {2 ** (levels - 1)}, "
            f"got {latent_size}"
        )
    # Under "scale_shift" diffusers leaves out the middle attention's norm, unless it is told of its groups.
    attention_groups = None if declared.resnet_time_scale_shift == "default" else declared.norm_num_groups
    attends = [level in declared.attention_levels for level in range(levels)]
    return UNet2DModel(
        sample_size=latent_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=tuple("AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        up_block_types=tuple("AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
        block_out_channels=declared.block_out_channels,
        layers_per_block=declared.layers_per_block,
        attention_head_dim=declared.attention_head_dim,
        norm_num_groups=declared.norm_num_groups,
        resnet_time_scale_shift=declared.resnet_time_scale_shift,
        add_attention=declared.mid_block_attention,
        num_class_embeds=declared.known_classes + 1 if declared.known_classes else None,
        attn_norm_num_groups=attention_groups,
    )


def null_class(denoiser: UNet2DModel) -> int:
    """The class that means no condition: the last embedding."""
    return int(denoiser.config.num_class_embeds) - 1


def denoise(denoiser: UNet2DModel, noisy_latents: Latents, timesteps: Timesteps, classes: Classes | None) -> Latents:
    """The network's prediction: noise or velocity, as its schedule says."""
    return denoiser(noisy_latents, timesteps, class_labels=classes).sample
