"""diffusers' VQModel: a codebook, which is the decoder's first layer (van den Oord et al. 2017)."""

from collections.abc import Sequence

from diffusers import VQModel
from torch import nn

from rayograph.models.autoencoder import without_variance
from rayograph.models.autoencoders.of_diffusers import DiffusersAutoencoder
from rayograph.shapes import Images, Latents, Moments


class VQAutoencoder(DiffusersAutoencoder[VQModel]):
    """What comes before the codebook is the mean, with a deviation of as good as none."""

    diffusers_class = VQModel

    def encode(self, images: Images) -> Moments:
        return without_variance(self._network[0].encode(images).latents)

    def nearest_codes(self, raw_latents: Latents) -> Latents:
        """Return the code that each place is decoded from; gradients go to the codebook."""
        quantize = self._network[0].quantize
        _, _, (_, _, numbers) = quantize(raw_latents)
        batch, channels, height, width = raw_latents.shape
        codes: Latents = quantize.embedding(numbers).view(batch, height, width, channels).permute(0, 3, 1, 2)
        return codes

    def separable_parts(self) -> Sequence[nn.Module]:
        decoder = self._network[0].decoder
        return [self.encoder, decoder.mid_block, *decoder.up_blocks]

    def compile_decoder(self) -> None:
        self.decoder.compile(dynamic=False)
