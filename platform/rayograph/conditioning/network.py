"""The part of a conditioner that has weights.

Shapes: b batch, c conditions, h w pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from rayograph.config.job.features import Features
from rayograph.models.conditioning import Conditioning

Encode = Callable[[Tensor], Tensor]
"""Images (b, 3, h, w) in [-1, 1] to their latents, as the denoiser sees them."""


class Extract(Protocol):
    """Pixels (b, h, w, 3) uint8 on the CPU to features (b, d)."""

    name: str
    dimension: int

    def __call__(self, pixels: Tensor) -> Tensor: ...


FindExtractor = Callable[[Features], Extract]
"""What a declaration of features stands for."""


class ConditionerNetwork(nn.Module, ABC):
    """The paper's τ_θ: trained, averaged and saved with the denoiser."""

    @abstractmethod
    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        """Return what columns (b, …) say."""

    @abstractmethod
    def null(self, count: int) -> Conditioning:
        """Return the null condition, `count` times: of samples that nothing is said of."""

    def unconditional(self, columns: Mapping[str, Tensor], count: int) -> Conditioning:
        """Return what guidance compares with."""
        return self.null(count)

    def told(self, columns: Mapping[str, Tensor], keep: Tensor) -> Conditioning:
        """Return what a training tells: what columns say, or the null condition where `keep` (b, 1) is false."""
        return self.embed(columns).where(keep[:, 0], self.null(len(keep)))

    def finished(self, pixels: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """Return generated pixels (b, h, w, 3) uint8 as they are handed out."""
        return pixels

    def save_parts(self, folder: Path) -> None:
        """Write into a model's folder what is not among its weights."""

    def load_parts(self, folder: Path) -> None:
        """Read what `save_parts` wrote. The folder is gone afterwards."""

    def use_first_stage(self, encode: Encode) -> None:
        """Keep what encodes images, where a condition is latents. It is the model's: not trained, nor saved twice."""

    def use_extractors(self, find: FindExtractor) -> None:
        """Keep the frozen network that says what a condition is, where there is one."""
