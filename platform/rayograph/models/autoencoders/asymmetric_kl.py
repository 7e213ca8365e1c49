"""diffusers' AsymmetricAutoencoderKL: KL's posterior, and a decoder larger than the encoder (Zhu et al. 2023)."""

from collections.abc import Sequence

from diffusers import AsymmetricAutoencoderKL
from torch import nn

from rayograph.models.adopted import adopt, with_statistics
from rayograph.models.autoencoder import AutoencoderNetwork
from rayograph.models.specs import autoencoder_spec
from rayograph.shapes import Images, Latents, Moments


class AsymmetricKLAutoencoder(AutoencoderNetwork):
    """`network` stays whole besides, out of torch's sight: its parts are this module's."""

    diffusers_class = AsymmetricAutoencoderKL
    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, network: AsymmetricAutoencoderKL) -> None:
        super().__init__()
        adopt(self, network)
        self._network = (network,)
        self.spec = autoencoder_spec(network.config)

    def encode(self, images: Images) -> Moments:
        moments: Moments = self._network[0].encode(images).latent_dist.parameters
        return moments

    def decode(self, raw_latents: Latents) -> Images:
        """Return whole images; what its decoder can do with a mask beside is for inpainting."""
        images: Images = self._network[0].decode(raw_latents).sample
        return images

    def last_decoder_layer(self) -> nn.Parameter:
        return self._network[0].decoder.conv_out.weight

    def separable_parts(self) -> Sequence[nn.Module]:
        return [self.encoder]

    def diffusers_model(self) -> AsymmetricAutoencoderKL:
        return with_statistics(self._network[0], self.spec)
