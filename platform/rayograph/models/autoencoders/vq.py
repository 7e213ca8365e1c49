"""diffusers' VQModel: a codebook, which is the decoder's first layer (van den Oord et al. 2017)."""

from collections.abc import Sequence

from diffusers import VQModel
from torch import nn

from rayograph.models.adopted import adopt, with_statistics
from rayograph.models.autoencoder import AutoencoderNetwork, without_variance
from rayograph.models.specs import autoencoder_spec
from rayograph.shapes import Images, Latents, Moments


class VQAutoencoder(AutoencoderNetwork):
    """`network` stays whole besides, out of torch's sight: its parts are this module's."""

    diffusers_class = VQModel
    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, network: VQModel) -> None:
        super().__init__()
        adopt(self, network)
        self._network = (network,)
        self.spec = autoencoder_spec(network.config)

    def encode(self, images: Images) -> Moments:
        """Return what comes before the codebook, with a deviation of as good as none."""
        return without_variance(self._network[0].encode(images).latents)

    def decode(self, raw_latents: Latents) -> Images:
        images: Images = self._network[0].decode(raw_latents).sample
        return images

    def nearest_codes(self, raw_latents: Latents) -> Latents:
        """Return the code that each place is decoded from; gradients go to the codebook."""
        quantize = self._network[0].quantize
        _, _, (_, _, numbers) = quantize(raw_latents)
        batch, channels, height, width = raw_latents.shape
        codes: Latents = quantize.embedding(numbers).view(batch, height, width, channels).permute(0, 3, 1, 2)
        return codes

    def last_decoder_layer(self) -> nn.Parameter:
        return self._network[0].decoder.conv_out.weight

    def separable_parts(self) -> Sequence[nn.Module]:
        decoder = self._network[0].decoder
        return [self.encoder, decoder.mid_block, *decoder.up_blocks]

    def compile_decoder(self) -> None:
        self.decoder.compile(dynamic=False)

    def diffusers_model(self) -> VQModel:
        return with_statistics(self._network[0], self.spec)
