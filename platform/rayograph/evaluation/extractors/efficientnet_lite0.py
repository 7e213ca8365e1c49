"""The features of an EfficientNet-Lite0 that was trained on ImageNet (models/trunks/efficientnet_lite.py).

Shapes: b images, h w pixels.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rayograph.config.job.features import EfficientNetLite0
from rayograph.evaluation.extractors.resizing import in_batches, resized
from rayograph.models.trunks.efficientnet_lite import DIMENSION, MEAN, STD, packaged_network
from rayograph.storage import Access


def normalised(pixels: UInt8[Tensor, "b h w 3"], side: int) -> Float[Tensor, "b 3 r r"]:
    """Pixels as the network was trained on them."""
    return (resized(pixels, side) - MEAN) / STD


class EfficientNetExtractor:
    """The packaged network's features."""

    name: str
    dimension = DIMENSION

    def __init__(self, declared: EfficientNetLite0, device: str, access: Access = None) -> None:
        """`access` is every extractor's; this one's weights are installed. Raises CheckpointError for other weights."""
        self.resolution = declared.resolution
        self.name = f"EfficientNet-Lite0 at {declared.resolution}×{declared.resolution}"
        self._device = torch.device(device)
        self._network = packaged_network().to(self._device)

    @torch.inference_mode()
    def __call__(self, pixels: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b 1280"]:
        return in_batches(self._features, pixels)

    def _features(self, pixels: Tensor) -> Tensor:
        return self._network.features(normalised(pixels.to(self._device), self.resolution))
