"""diffusers' UNet2DModel: the paper's denoiser, with a vector of conditions added to its time embedding."""

from collections.abc import Sequence

from diffusers import UNet2DModel
from torch import Tensor, nn

from rayograph.config.job.denoisers import Denoiser
from rayograph.models.adopted import adopt
from rayograph.models.conditioning import Conditioning
from rayograph.models.denoiser import DenoiserNetwork
from rayograph.models.specs import Ways, denoiser_spec
from rayograph.shapes import Latents, Timesteps


class UNetDenoiser(DenoiserNetwork):
    """`network` stays whole besides, out of torch's sight: its parts are this module's."""

    def __init__(self, network: UNet2DModel) -> None:
        super().__init__()
        adopt(self, network)
        self._network = (network,)
        self.spec = denoiser_spec(network.config)

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

    def separable_parts(self) -> Sequence[nn.Module]:
        return self._network

    def enable_gradient_checkpointing(self) -> None:
        self._network[0].enable_gradient_checkpointing()

    def diffusers_model(self) -> UNet2DModel:
        return self._network[0]

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
    classes = declared.known_classes
    network = UNet2DModel(
        sample_size=latent_size,
        in_channels=latent_channels + gives.concat,
        out_channels=latent_channels,
        down_block_types=tuple("AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        up_block_types=tuple("AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
        block_out_channels=declared.block_out_channels,
        layers_per_block=declared.layers_per_block,
        attention_head_dim=declared.attention_head_dim,
        norm_num_groups=declared.norm_num_groups,
        resnet_time_scale_shift=declared.resnet_time_scale_shift,
        add_attention=declared.mid_block_attention,
        num_class_embeds=classes + 1 if classes else None,
        attn_norm_num_groups=attention_groups,
    )
    denoiser = UNetDenoiser(network)
    if gives.vector and not classes:
        denoiser.pass_vectors()
    return denoiser
