"""Feature extractors: images to vectors, for distances, copies and duplicates. An extractor a file.

Shapes: b images, h w pixels, d features.

Fréchet distances, precision and recall mean nothing without the space they were measured in, so an extractor states
its name and the report prints it.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor

from rayograph.config.job.features import Features
from rayograph.config.kinds import implementation
from rayograph.storage import Access


@runtime_checkable
class FeatureExtractor(Protocol):
    """Images to features, the same for an image whatever others come with it.

    `name` is what reports call the space by: it tells one network from another, and holds no path. `resolution` is the
    side that it scales images to; None looks at them as they are.
    """

    name: str
    dimension: int
    resolution: int | None

    def __call__(self, pixels: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b d"]: ...


def build_extractor(declared: Features, device: str, access: Access = None) -> FeatureExtractor:
    """Make what a declaration says. Raises CheckpointError for weights that are not what it says."""
    extractor: FeatureExtractor = implementation(declared)(declared, device, access)
    return extractor
