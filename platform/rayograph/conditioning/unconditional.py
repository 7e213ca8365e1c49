"""No condition: the denoiser is told nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from rayograph.conditioning.protocol import ConditionerNetwork
from rayograph.config.conditioning import Unconditional
from rayograph.models.conditioning import Conditioning


class UnconditionalConditioner:
    """Reads nothing."""

    distinct_examples = 0

    def __init__(self, declared: Unconditional, facts: Mapping[str, Any] | None) -> None:
        self.declared = declared

    def examples(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        return {}

    def network(self, vector_width: int) -> "Nothing":
        return Nothing()


class Nothing(ConditionerNetwork):
    """Says nothing."""

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        return Conditioning()

    def null(self, count: int) -> Conditioning:
        return Conditioning()
