"""diffusers' AutoencoderKL: a posterior near the standard normal (Kingma & Welling 2014)."""

from collections.abc import Sequence

from diffusers import AutoencoderKL
from torch import nn

from rayograph.models.autoencoders.of_diffusers import DiffusersAutoencoder
from rayograph.shapes import Images, Moments


class KLAutoencoder(DiffusersAutoencoder[AutoencoderKL]):
    """A posterior whose parameters the encoder gives."""

    diffusers_class = AutoencoderKL

    def encode(self, images: Images) -> Moments:
        moments: Moments = self._network[0].encode(images).latent_dist.parameters
        return moments

    def separable_parts(self) -> Sequence[nn.Module]:
        decoder = self._network[0].decoder
        return [self.encoder, decoder.mid_block, *decoder.up_blocks]

    def compile_decoder(self) -> None:
        self.decoder.compile(dynamic=False)

    def enable_gradient_checkpointing(self) -> None:
        self._network[0].enable_gradient_checkpointing()
