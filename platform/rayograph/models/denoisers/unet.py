"""diffusers' UNet2DModel: the paper's denoiser, with a vector of conditions added to its time embedding."""

import math

from diffusers import UNet2DModel
from torch import Tensor, nn

from rayograph.config.job.denoisers import Denoiser
from rayograph.models.conditioning import Conditioning
from rayograph.models.denoisers.diffusers_unet import DiffusersUNet
from rayograph.models.denoisers.heads import keep_heads, set_heads
from rayograph.models.specs import Ways
from rayograph.shapes import Latents, Timesteps


class UNetDenoiser(DiffusersUNet[UNet2DModel]):
    """Heads are as many as its configuration says, where it says so besides their channels."""

    def __init__(self, network: UNet2DModel) -> None:
        super().__init__(network)
        keep_heads(network)

    def forward(self, noisy_latents: Latents, timesteps: Timesteps, conditioning: Conditioning) -> Latents:
        inputs = conditioning.behind(noisy_latents)
        prediction: Latents = self._network[0](inputs, timesteps, class_labels=conditioning.vector).sample
        return prediction

    def take_class_embedding(self) -> dict[str, Tensor] | None:
        """The last of its vectors is of no class. Models were made so before conditioners stood beside their denoisers.

        Adding a vector that comes from outside gives the same numbers to the last bit.
        """
        (network,) = self._network
        if network.config.num_class_embeds is None:
            return None
        state = {name: value.detach() for name, value in network.class_embedding.named_parameters()}
        self.pass_vectors()
        return state

    def pass_vectors(self) -> None:
        """Add the conditioning's vector to the time embedding as it is."""
        (network,) = self._network
        self.class_embedding = network.class_embedding = nn.Identity()
        network.register_to_config(class_embed_type="identity", num_class_embeds=None)


def build(declared: Denoiser, latent_channels: int, latent_size: int, gives: Ways) -> UNetDenoiser:
    """Build one with fresh weights.

    One that is declared with classes has their embedding within, for `take_class_embedding`: so its weights are drawn
    in the same order as ever.
    """
    # Under "scale_shift" diffusers leaves out the middle attention's norm, unless it is told of its groups.
    attention_groups = None if declared.resnet_time_scale_shift == "default" else declared.norm_num_groups
    attends = [level in declared.attention_levels for level in range(len(declared.block_out_channels))]
    plain = "{}Block2D" if declared.resample_type == "conv" else "Resnet{}sampleBlock2D"
    classes, number = declared.known_classes, declared.num_attention_heads
    widths = {declared.attention_head_dim} if number is None else {w // number for w in declared.attending_widths}
    network = UNet2DModel(
        sample_size=latent_size,
        in_channels=latent_channels + gives.concat,
        out_channels=latent_channels,
        down_block_types=tuple("AttnDownBlock2D" if attend else plain.format("Down") for attend in attends),
        up_block_types=tuple("AttnUpBlock2D" if attend else plain.format("Up") for attend in reversed(attends)),
        downsample_type=declared.resample_type,
        upsample_type=declared.resample_type,
        block_out_channels=declared.block_out_channels,
        layers_per_block=declared.layers_per_block,
        attention_head_dim=math.gcd(*widths) or declared.attention_head_dim,
        norm_num_groups=declared.norm_num_groups,
        resnet_time_scale_shift=declared.resnet_time_scale_shift,
        add_attention=declared.mid_block_attention,
        num_class_embeds=classes + 1 if classes else None,
        attn_norm_num_groups=attention_groups,
    )
    if number is not None and len(widths) > 1:
        set_heads(network, number)
    denoiser = UNetDenoiser(network)
    if gives.vector and not classes:
        denoiser.pass_vectors()
    return denoiser
