"""What diffusers' autoencoders have in common behind the seam: all but how moments are made of what they encode."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from diffusers import AsymmetricAutoencoderKL, AutoencoderDC, AutoencoderKL, VQModel
from torch import nn

from rayograph.models.adopted import adopt
from rayograph.models.autoencoder import AutoencoderNetwork
from rayograph.models.specs import autoencoder_spec
from rayograph.shapes import Images, Latents

N = TypeVar("N", AutoencoderKL, VQModel, AsymmetricAutoencoderKL, AutoencoderDC)


class DiffusersAutoencoder(AutoencoderNetwork, Generic[N]):
    """`network` stays whole besides, out of torch's sight: its parts are this module's."""

    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, network: N) -> None:
        super().__init__()
        adopt(self, network)
        self._network = (network,)
        self.spec = autoencoder_spec(network.config)

    def decode(self, raw_latents: Latents) -> Images:
        images: Images = self._network[0].decode(raw_latents).sample
        return images

    def last_decoder_layer(self) -> nn.Parameter:
        weight: nn.Parameter = self._network[0].decoder.conv_out.weight
        return weight

    def separable_parts(self) -> Sequence[nn.Module]:
        return [self.encoder]

    def diffusers_model(self) -> N:
        """Return it with its latents' statistics, where there are any, in its configuration."""
        network, spec = self._network[0], self.spec
        if spec.latents_mean is not None and spec.latents_std is not None:
            network.register_to_config(latents_mean=list(spec.latents_mean), latents_std=list(spec.latents_std))
        return network
