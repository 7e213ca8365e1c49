"""The seam: a conditioner says what is read of samples and requests, its network what that is for the denoiser.

Shapes: b batch.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from rayograph.config.conditioning import ConditionerKind
from rayograph.models.conditioning import Conditioning


class ConditionerNetwork(nn.Module):
    """The paper's τ_θ: trained, averaged and saved with the denoiser."""

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        """Return what columns (b, …) say."""
        raise NotImplementedError

    def null(self, count: int) -> Conditioning:
        """Return the null condition, `count` times: of samples that nothing is said of."""
        raise NotImplementedError


@runtime_checkable
class Conditioner(Protocol):
    """Small, without weights: it travels to whatever reads samples or checks requests."""

    declared: ConditionerKind
    """With all filled in that only the data can tell."""

    @property
    def distinct_examples(self) -> int:
        """So many of the first examples differ in what they are of; 0 where nothing tells them apart."""
        ...

    def examples(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Return columns (n, …) for samples by their numbers (n,), where nobody says what they are of."""
        ...

    def network(self, vector_width: int) -> ConditionerNetwork:
        """Build the network with fresh weights, for a denoiser whose time embedding is so wide."""
        ...
