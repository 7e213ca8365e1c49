"""diffusers' AutoencoderDC: f = 32 and more by residuals that move space into channels (Chen et al. 2025)."""

from collections.abc import Sequence

from diffusers import AutoencoderDC
from torch import nn

from rayograph.models.adopted import adopt, with_statistics
from rayograph.models.autoencoder import AutoencoderNetwork, without_variance
from rayograph.models.specs import autoencoder_spec
from rayograph.shapes import Images, Latents, Moments


class DeepCompressionAutoencoder(AutoencoderNetwork):
    """`network` stays whole besides, out of torch's sight: its parts are this module's."""

    diffusers_class = AutoencoderDC
    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, network: AutoencoderDC) -> None:
        super().__init__()
        adopt(self, network)
        self._network = (network,)
        self.spec = autoencoder_spec(network.config)

    def encode(self, images: Images) -> Moments:
        """Return what its encoder gives, which is no distribution, with a deviation of as good as none."""
        return without_variance(self._network[0].encode(images).latent)

    def decode(self, raw_latents: Latents) -> Images:
        images: Images = self._network[0].decode(raw_latents).sample
        return images

    def last_decoder_layer(self) -> nn.Parameter:
        layer = self._network[0].decoder.conv_out
        convolution: nn.Conv2d = layer if isinstance(layer, nn.Conv2d) else layer.conv  # the latter enlarges besides
        weight: nn.Parameter = convolution.get_parameter("weight")
        return weight

    def separable_parts(self) -> Sequence[nn.Module]:
        return [self.encoder]

    def diffusers_model(self) -> AutoencoderDC:
        return with_statistics(self._network[0], self.spec)
