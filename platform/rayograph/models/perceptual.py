"""Perceptual distance: how far two images are apart in a network's features (Zhang et al. 2018, LPIPS, eq. 1).

Three networks: VGG-16 with LPIPS' learned channel weights, its trunk's weights read from a file; EfficientNet-Lite0 as
it was trained on ImageNet, its weights from a package; or, without either, a small convolutional network with random
weights, whose features still see edges and texture.

Shapes: b batch, c image channels, h w pixels.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from rayograph.config import PerceptualNetwork
from rayograph.errors import CheckpointError
from rayograph.models.trunks.efficientnet_lite import MEAN, STD, packaged_network
from rayograph.runs.digests import sha256
from rayograph.shapes import Images
from rayograph.storage import open_store

VGG16_STAGES: Sequence[Sequence[int]] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG-16's convolutions (Simonyan & Zisserman 2015, configuration D); a pooling stands between stages."""


class PerceptualDistance(nn.Module):
    """Squared distance of channel-normalised features: weighted by channel, mean over places, sum over stages."""

    shift: Tensor
    spread: Tensor

    def __init__(
        self, stages: Sequence[nn.Module], weights: Sequence[Tensor], mean: Sequence[float], std: Sequence[float]
    ):
        super().__init__()
        self.stages = nn.ModuleList(stages)
        for number, weight in enumerate(weights):
            self.register_buffer(f"weight{number}", weight.reshape(1, -1, 1, 1))
        self.register_buffer("shift", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("spread", torch.tensor(std).reshape(1, -1, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, images: Images, others: Images) -> Tensor:
        """(b,) distances, 0 for equal images."""
        features = (torch.cat([images, others]) - self.shift) / self.spread
        total = images.new_zeros(len(images))
        for number, stage in enumerate(self.stages):
            features = stage(features)
            directions = features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-8)
            a, b = directions.chunk(2)
            total = total + ((a - b).square() * self.get_buffer(f"weight{number}")).sum(dim=1).mean(dim=(1, 2))
        return total


def build_perceptual(declared: PerceptualNetwork, image_channels: int) -> tuple[PerceptualDistance, str]:
    """The network and a sentence on which it is. Raises CheckpointError for a weights file that does not fit."""
    if declared.pretrained == "efficientnet_lite0":
        network = _efficientnet()
        return network, f"perceptual network: {len(network.stages)} stages of EfficientNet-Lite0, trained on ImageNet"
    if declared.weights_uri is None:
        network = _random_network(declared.channels, image_channels, declared.seed)
        return network, f"perceptual network: {len(declared.channels)} random stages (no weights file given)"
    data, digest = _read_weights(declared.weights_uri)
    if declared.weights_sha256 not in (None, digest):
        raise CheckpointError(f"{declared.weights_uri}: expected sha256 {declared.weights_sha256}, got {digest}")
    network = _vgg16(data, declared.weights_uri)
    return network, f"perceptual network: LPIPS on VGG-16 from {declared.weights_uri} (sha256 {digest})"


def pinned(declared: PerceptualNetwork) -> PerceptualNetwork:
    """The declaration with its file's digest, so that whoever builds it builds the same."""
    if declared.weights_uri is None or declared.weights_sha256 is not None:
        return declared
    return declared.model_copy(update={"weights_sha256": _read_weights(declared.weights_uri)[1]})


def _read_weights(uri: str) -> tuple[bytes, str]:
    folder, _, name = uri.rpartition("/")
    data = open_store(folder or ".").read(name)
    return data, sha256(data)


def _random_network(channels: Sequence[int], image_channels: int, seed: int) -> PerceptualDistance:
    generator = torch.Generator().manual_seed(seed)
    stages: list[nn.Module] = []
    before = image_channels
    for number, width in enumerate(channels):
        convolution = nn.Conv2d(before, width, 3, stride=1 if number == 0 else 2, padding=1)
        with torch.no_grad():
            convolution.weight.normal_(0.0, (2.0 / (9 * before)) ** 0.5, generator=generator)
            assert convolution.bias is not None
            convolution.bias.zero_()
        stages.append(nn.Sequential(convolution, nn.ReLU()))
        before = width
    weights = [torch.full((width,), 1.0) for width in channels]
    return PerceptualDistance(stages, weights, [0.0] * image_channels, [1.0] * image_channels)


def _efficientnet() -> PerceptualDistance:
    """Every stage counts alike, and every channel of a stage: nobody learned weights for this network's."""
    stages, widths = zip(*packaged_network().stages(), strict=True)
    weights = [torch.full((width,), 1.0 / len(stages)) for width in widths]
    # Pixels p of 0 … 255 are taken as (p - 127) / 128, and an image is p / 127.5 - 1.
    mean, std = MEAN / 127.5 - 1.0, STD / 127.5
    return PerceptualDistance(stages, weights, [mean] * 3, [std] * 3)


def _vgg16(data: bytes, uri: str) -> PerceptualDistance:
    """LPIPS 0.1: the trunk's keys are torchvision's (`features.N.weight`), as safetensors or a plain torch file."""
    try:
        if uri.endswith(".safetensors"):
            state = load_safetensors(data)
        else:
            state = torch.load(io.BytesIO(data), weights_only=True)
        trunk = nn.Sequential(*(layer for stage in _vgg16_stages() for layer in stage))
        wanted = {key: state[f"features.{key}"] for key in trunk.state_dict()}
        trunk.load_state_dict(wanted)
    except Exception as error:  # whatever a foreign file does to a reader, the answer is one line
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{uri}: expected VGG-16's weights: {type(error).__name__}: {reason}") from error
    stages, begin = [], 0
    for stage in _vgg16_stages():
        stages.append(trunk[begin : begin + len(stage)])
        begin += len(stage)
    return PerceptualDistance(stages, _lpips_weights(), (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))


def _vgg16_stages() -> list[list[nn.Module]]:
    stages: list[list[nn.Module]] = []
    before = 3
    for number, widths in enumerate(VGG16_STAGES):
        layers: list[nn.Module] = [nn.MaxPool2d(2)] if number else []
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        stages.append(layers)
    return stages


def _lpips_weights() -> list[Tensor]:
    """LPIPS' learned channel weights for VGG-16, which torchmetrics ships."""
    import torchmetrics.functional.image as package

    file = Path(package.__file__).parent / "lpips_models" / "vgg.pth"
    state = torch.load(file, weights_only=True, map_location="cpu")
    return [state[f"lin{number}.model.1.weight"].flatten() for number in range(len(VGG16_STAGES))]
