"""EfficientNet-Lite0 (Tan & Le 2019; the Lite variants have no squeeze-and-excitation, and ReLU6 for swish).

The architecture is written out here; ImageNet's weights come in a package (packaged.py). Its file is a pickle of
tensors, and read as tensors alone.

Shapes: b images, h w pixels.
"""

import hashlib
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from rayograph.errors import CheckpointError
from rayograph.models.trunks.packaged import SHA256, packaged_weights

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

    def stages(self) -> list[tuple[nn.Module, int]]:
        """What stands at each size of the grid, from h/2 to h/32, and the channels that it gives."""
        parts: list[list[nn.Module]] = [[_Stem(self)]]
        widths = [STEM]
        for block in (block for block in self._blocks if isinstance(block, Block)):
            if block.halves:
                parts.append([])
                widths.append(0)
            parts[-1].append(block)
            widths[-1] = block.width
        return [(nn.Sequential(*part), width) for part, width in zip(parts, widths, strict=True)]

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1000"]:
        """Logits of ImageNet's classes."""
        logits: Tensor = self._fc(self.features(images))
        return logits


class _Stem(nn.Module):
    """The first convolution as a module."""

    def __init__(self, network: EfficientNetLite) -> None:
        super().__init__()
        self.convolution, self.norm = network._conv_stem, network._bn0

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.convolution(images)).clamp(0.0, 6.0)


class Block(nn.Module):
    """An inverted residual (Sandler et al. 2018): wide, by channel, narrow; and around it where shapes allow."""

    def __init__(self, width: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width * expansion
        self.halves, self.width = stride == 2, channels
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


def packaged_network() -> EfficientNetLite:
    """The network as it was trained on ImageNet. Raises ConfigError without its package, CheckpointError for others."""
    file = packaged_weights()
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise CheckpointError(f"{file}: expected sha256 {SHA256}, got another: install the package again")
    return network_of(torch.load(file, weights_only=True), str(file))
