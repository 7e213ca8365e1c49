"""The part of a conditioner that has weights.

Shapes: b batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from rayograph.models.conditioning import Conditioning


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
