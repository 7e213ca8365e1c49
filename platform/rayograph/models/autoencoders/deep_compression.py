"""diffusers' AutoencoderDC: f = 32 and more by residuals that move space into channels (Chen et al. 2025)."""

from diffusers import AutoencoderDC
from torch import nn

from rayograph.models.autoencoder import without_variance
from rayograph.models.autoencoders.of_diffusers import DiffusersAutoencoder
from rayograph.shapes import Images, Moments


class DeepCompressionAutoencoder(DiffusersAutoencoder[AutoencoderDC]):
    """What its encoder gives is no distribution: the mean, with a deviation of as good as none."""

    diffusers_class = AutoencoderDC

    def encode(self, images: Images) -> Moments:
        return without_variance(self._network[0].encode(images).latent)

    def last_decoder_layer(self) -> nn.Parameter:
        layer = self._network[0].decoder.conv_out
        convolution: nn.Conv2d = layer if isinstance(layer, nn.Conv2d) else layer.conv  # the latter enlarges besides
        weight: nn.Parameter = convolution.get_parameter("weight")
        return weight
