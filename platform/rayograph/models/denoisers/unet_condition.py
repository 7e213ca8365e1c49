"""diffusers' UNet2DConditionModel: the paper's denoiser with transformers that attend to the conditioner's tokens."""

from diffusers import UNet2DConditionModel

from rayograph.config.job.denoisers import ConditionDenoiser
from rayograph.models.conditioning import Conditioning
from rayograph.models.denoisers.diffusers_unet import DiffusersUNet
from rayograph.models.specs import Ways
from rayograph.shapes import Latents, Timesteps


class ConditionUNet(DiffusersUNet[UNet2DConditionModel]):
    """Tokens that a mask leaves out get no attention; where it leaves out all, each gets as much as any other."""

    def forward(self, noisy_latents: Latents, timesteps: Timesteps, conditioning: Conditioning) -> Latents:
        prediction: Latents = self._network[0](
            conditioning.behind(noisy_latents),
            timesteps,
            encoder_hidden_states=conditioning.cross_attention,
            encoder_attention_mask=conditioning.cross_attention_mask,
            class_labels=conditioning.vector,
        ).sample
        return prediction


def build(declared: ConditionDenoiser, latent_channels: int, latent_size: int, gives: Ways) -> ConditionUNet:
    """Build one with fresh weights."""
    attends = [level in declared.attention_levels for level in range(len(declared.block_out_channels))]
    network = UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=latent_channels + gives.concat,
        out_channels=latent_channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        mid_block_type="UNetMidBlock2DCrossAttn" if declared.mid_block_attention else "UNetMidBlock2D",
        up_block_types=tuple("CrossAttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
        block_out_channels=declared.block_out_channels,
        layers_per_block=declared.layers_per_block,
        attention_head_dim=declared.heads,  # diffusers calls the number of heads so
        transformer_layers_per_block=declared.transformer_layers_per_block,
        cross_attention_dim=declared.cross_attention_dim,
        norm_num_groups=declared.norm_num_groups,
        resnet_time_scale_shift=declared.resnet_time_scale_shift,
        class_embed_type="identity" if gives.vector else None,
    )
    return ConditionUNet(network)
