"""Declarations of feature extractors: where distances between images are taken. Each kind is one line of `FEATURES`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, SerializeAsAny, model_validator

from rayograph.config.kinds import Kind, Kinds


class Features(Kind):
    """A kind of features. Figures that were taken in different ones cannot be compared.

    `implemented_by` is called with the declaration, the device to compute on, and what stores are opened with, and
    gives back a `FeatureExtractor` (evaluation/extractors).
    """

    @property
    def side_multiple(self) -> int:
        """What the side of images must be a multiple of."""
        return 1


class PooledPixels(Features):
    """Pixels averaged over areas down to `size` × `size`: no weights file, shape and brightness at low resolution."""

    implemented_by: ClassVar[str | type] = "rayograph.evaluation.extractors.pooled_pixels:PooledPixelExtractor"

    kind: Literal["pooled_pixels"] = "pooled_pixels"
    size: PositiveInt = 8
    """A divisor of the images' side."""
    grey: bool = True
    """Whether the plain mean of the three channels is taken; otherwise each is kept."""

    @property
    def side_multiple(self) -> int:
        """Areas are of equal size."""
        return self.size


class NetworkFeatures(Features):
    """What any trained network says of an image: TorchScript (.pt), ONNX (.onnx), or weights as .safetensors.

    A network is given images (n, 3, r, r) and gives back (n, d), or (n, d, y, x), which is averaged over places.
    """

    implemented_by: ClassVar[str | type] = "rayograph.evaluation.extractors.network_file:NetworkExtractor"

    kind: Literal["network"] = "network"
    uri: str = Field(min_length=4)
    """A path or a URI of any store that job files may name."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Of the file, refused where it differs. With None what was found stands in the record alone."""
    architecture: Literal["efficientnet_lite0", "vgg16"] | None = None
    """Whose weights a .safetensors file holds, under its first authors' or torchvision's names."""
    resolution: PositiveInt = 224
    """Pixels a side that the network looks at: images are scaled to it, bicubically and without aliasing."""
    input_range: Literal["0..255", "0..1", "-1..1", "imagenet"] = "imagenet"
    """What it was trained on; "imagenet" is 0..1, less torchvision's means, over its deviations."""

    @model_validator(mode="after")
    def _file_and_architecture_fit(self) -> "NetworkFeatures":
        if not self.uri.endswith((".pt", ".onnx", ".safetensors")):
            raise ValueError(f"uri: expected a file .pt (TorchScript), .onnx or .safetensors, got {self.uri!r}")
        if self.uri.endswith(".safetensors") != (self.architecture is not None):
            expected = "none but with .safetensors" if self.architecture else "one with .safetensors"
            raise ValueError(f"architecture: expected {expected}, got {self.architecture!r}")
        return self


class EfficientNetLite0(Features):
    """The 1,280 features of an EfficientNet-Lite0 that was trained on ImageNet: the extra `evaluation` brings it."""

    implemented_by: ClassVar[str | type] = "rayograph.evaluation.extractors.efficientnet_lite0:EfficientNetExtractor"

    kind: Literal["efficientnet_lite0"] = "efficientnet_lite0"
    resolution: Annotated[int, Field(ge=32, multiple_of=32)] = 224
    """Pixels a side that it looks at. It was trained at 224; 96 takes a fifth of the time."""


FEATURES = Kinds(
    "feature_extractors",
    {
        "pooled_pixels": "rayograph.config.job.features:PooledPixels",
        "network": "rayograph.config.job.features:NetworkFeatures",
        "efficientnet_lite0": "rayograph.config.job.features:EfficientNetLite0",
    },
)

AnyFeatures = Annotated[SerializeAsAny[Features], FEATURES]
