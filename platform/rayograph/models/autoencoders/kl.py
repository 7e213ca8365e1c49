"""diffusers' AutoencoderKL: a posterior near the standard normal (Kingma & Welling 2014)."""

from collections.abc import Sequence

from diffusers import AutoencoderKL
from torch import nn

from rayograph.models.adopted import adopt, with_statistics
from rayograph.models.autoencoder import AutoencoderNetwork
from rayograph.models.specs import autoencoder_spec
from rayograph.shapes import Images, Latents, Moments


class KLAutoencoder(AutoencoderNetwork):
    """`network` stays whole besides, out of torch's sight: its parts are this module's."""

    diffusers_class = AutoencoderKL
    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, network: AutoencoderKL) -> None:
        super().__init__()
        adopt(self, network)
        self._network = (network,)
        self.spec = autoencoder_spec(network.config)

    def encode(self, images: Images) -> Moments:
        moments: Moments = self._network[0].encode(images).latent_dist.parameters
        return moments

    def decode(self, raw_latents: Latents) -> Images:
        images: Images = self._network[0].decode(raw_latents).sample
        return images

    def last_decoder_layer(self) -> nn.Parameter:
        return self._network[0].decoder.conv_out.weight

    def separable_parts(self) -> Sequence[nn.Module]:
        decoder = self._network[0].decoder
        return [self.encoder, decoder.mid_block, *decoder.up_blocks]

    def compile_decoder(self) -> None:
        self.decoder.compile(dynamic=False)

    def enable_gradient_checkpointing(self) -> None:
        self._network[0].enable_gradient_checkpointing()

    def diffusers_model(self) -> AutoencoderKL:
        return with_statistics(self._network[0], self.spec)
