"""The second stage's network: noisy latents, timesteps and conditions to a prediction (Rombach et al. 2022, sec. 3.2).

Shapes: b batch, z latent channels, y x latent grid.
"""

from diffusers import UNet2DModel
from torch import Tensor, nn

from rayograph.config import Denoiser
from rayograph.errors import ConfigError
from rayograph.models.conditioning import Conditioning
from rayograph.shapes import Latents, Timesteps


def build_denoiser(
    declared: Denoiser, latent_channels: int, latent_size: int, takes_vector: bool = False
) -> UNet2DModel:
    """A new network with fresh weights. Raises ConfigError where the grid cannot be halved often enough.

    One that is declared with classes has their embedding within, for `take_class_embedding`: so its weights are drawn
    in the same order as ever.
    """
    levels = len(declared.block_out_channels)
    if latent_size % 2 ** (levels - 1):
        raise ConfigError(
            f"block_out_channels: {levels} levels need a latent grid divisible by {2 ** (levels - 1)}, "
            f"got {latent_size}"
        )
    # Under "scale_shift" diffusers leaves out the middle attention's norm, unless it is told of its groups.
    attention_groups = None if declared.resnet_time_scale_shift == "default" else declared.norm_num_groups
    attends = [level in declared.attention_levels for level in range(levels)]
    classes = declared.known_classes
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
        class_embed_type="identity" if takes_vector and not classes else None,  # what is given is added as it is
        num_class_embeds=classes + 1 if classes else None,
        attn_norm_num_groups=attention_groups,
    )


def take_class_embedding(denoiser: UNet2DModel) -> dict[str, Tensor] | None:
    """Take the embedding of classes out of a U-Net that has one within; None for one that has none.

    The last of its vectors is of no class. Models were made so before conditioners stood beside their denoisers.
    Adding a vector that comes from outside gives the same numbers to the last bit.
    """
    if denoiser.config.num_class_embeds is None:
        return None
    state = {name: value.detach() for name, value in denoiser.class_embedding.named_parameters()}
    denoiser.class_embedding = nn.Identity()
    denoiser.register_to_config(class_embed_type="identity", num_class_embeds=None)
    return state


def vector_width(denoiser: UNet2DModel) -> int:
    """Of the time embedding, which `Conditioning.vector` is added to."""
    return int(denoiser.time_embedding.linear_2.out_features)


def denoise(denoiser: UNet2DModel, noisy_latents: Latents, timesteps: Timesteps, conditioning: Conditioning) -> Latents:
    """The network's prediction: noise or velocity, as its schedule says."""
    return denoiser(noisy_latents, timesteps, class_labels=conditioning.vector).sample
