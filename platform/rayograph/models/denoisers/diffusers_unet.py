"""What diffusers' U-Nets have in common behind the seam: all but how they are told of a sample."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from diffusers import UNet2DConditionModel, UNet2DModel
from torch import nn

from rayograph.models.adopted import adopt
from rayograph.models.denoiser import DenoiserNetwork
from rayograph.models.specs import denoiser_spec

N = TypeVar("N", UNet2DModel, UNet2DConditionModel)


class DiffusersUNet(DenoiserNetwork, Generic[N]):
    """`network` stays whole besides, out of torch's sight: its parts are this module's."""

    def __init__(self, network: N) -> None:
        super().__init__()
        adopt(self, network)
        self._network = (network,)
        self.spec = denoiser_spec({**network.config, "_class_name": type(network).__name__})

    def separable_parts(self) -> Sequence[nn.Module]:
        return self._network

    def enable_gradient_checkpointing(self) -> None:
        self._network[0].enable_gradient_checkpointing()

    def diffusers_model(self) -> N:
        return self._network[0]
