"""Features by any network that a file holds: TorchScript, ONNX, or the weights of a listed architecture.

No format here runs Python code of the file's. A TorchScript file holds code of its own all the same, in a language
that reaches no files: take it from where you would take a program.

Shapes: b images, h w pixels, r the network's side, d features.
"""

import hashlib
import io
import warnings
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from rayograph.config.job.features import NetworkFeatures
from rayograph.errors import CheckpointError, ConfigError
from rayograph.evaluation.extractors.resizing import in_batches, in_range, means_over_places, resized
from rayograph.models.perceptual import VGG16_STAGES
from rayograph.models.trunks.efficientnet_lite import network_of
from rayograph.storage import Access, open_store

Network = Callable[[Tensor], Tensor]
"""(b, 3, r, r) to (b, d) or (b, d, y, x)."""


class NetworkExtractor:
    """A declared file's network."""

    name: str
    dimension: int

    def __init__(self, declared: NetworkFeatures, device: str, access: Access = None) -> None:
        """Raises CheckpointError, naming the file, for one that is not what is declared."""
        folder, _, name = declared.uri.rpartition("/")
        data = open_store(folder or ".", access).read(name)
        digest = hashlib.sha256(data).hexdigest()
        if declared.sha256 not in (None, digest):
            raise CheckpointError(f"{declared.uri}: expected sha256 {declared.sha256}, got {digest}")
        self.resolution = declared.resolution
        self._device, self._range, self._uri = torch.device(device), declared.input_range, declared.uri
        self._network = _load(data, declared, self._device)
        self.dimension = self._features(torch.zeros((1, self.resolution, self.resolution, 3), dtype=torch.uint8)).shape[
            1
        ]
        self.name = f"{name} (sha256 {digest}) at {self.resolution}×{self.resolution}"

    @torch.inference_mode()
    def __call__(self, pixels: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b d"]:
        return in_batches(self._features, pixels)

    @torch.inference_mode()
    def _features(self, pixels: Tensor) -> Tensor:
        """Raises CheckpointError for what is no features of these images."""
        images = in_range(resized(pixels.to(self._device), self.resolution), self._range)
        try:
            found = self._network(images)
        except Exception as error:  # whatever a foreign network does, the answer is one line
            raise CheckpointError(f"{self._uri}: takes no images {tuple(images.shape)}: {_one_line(error)}") from error
        if not isinstance(found, Tensor) or found.ndim not in (2, 4) or len(found) != len(images):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise CheckpointError(f"{self._uri}: expected features ({len(images)}, d) or (…, d, y, x), got {got}")
        return means_over_places(found.float())


def _load(data: bytes, declared: NetworkFeatures, device: torch.device) -> Network:
    match declared.uri.rpartition(".")[2]:
        case "pt":
            return _torchscript(data, declared.uri, device)
        case "onnx":
            return _onnx(data, declared.uri)
        case _:
            return _listed(data, declared, device)


def _torchscript(data: bytes, uri: str, device: torch.device) -> Network:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a format that torch would rather see replaced
            network: nn.Module = torch.jit.load(io.BytesIO(data), map_location=device)
    except Exception as error:  # whatever a foreign file does to a reader, the answer is one line
        raise CheckpointError(f"{uri}: expected TorchScript: {_one_line(error)}") from error
    return network.eval()


def _onnx(data: bytes, uri: str) -> Network:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError("features: .onnx needs onnxruntime: pip install 'rayograph[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        (only,) = session.get_inputs()
    except Exception as error:  # whatever a foreign file does to a reader, the answer is one line
        raise CheckpointError(f"{uri}: expected an ONNX network of one input: {_one_line(error)}") from error

    def network(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {only.name: images.cpu().numpy()})[0])

    return network


def _listed(data: bytes, declared: NetworkFeatures, device: torch.device) -> Network:
    try:
        state = load_safetensors(data)
    except Exception as error:  # whatever a foreign file does to a reader, the answer is one line
        raise CheckpointError(f"{declared.uri}: expected safetensors: {_one_line(error)}") from error
    if declared.architecture == "vgg16":
        return _vgg16(state, declared.uri).to(device)
    return network_of(state, declared.uri).to(device).features


def _vgg16(state: Mapping[str, Tensor], uri: str) -> nn.Module:
    """Its last convolutions, before their pooling; the file's classifier, if there is one, is left aside."""
    layers: list[nn.Module] = []
    before = 3
    for number, widths in enumerate(VGG16_STAGES):
        layers += [nn.MaxPool2d(2)] if number else []
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
    trunk = nn.Sequential(*layers)
    try:
        trunk.load_state_dict({key: state[f"features.{key}"] for key in trunk.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{uri}: expected VGG-16's weights: {_one_line(error)}") from error
    return trunk.requires_grad_(False).eval()


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
