"""The class of a sample: one learned vector a class, added to the time embedding; and one for none.

Shapes: b batch, e width of the time embedding.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rayograph.conditioning.protocol import ConditionerNetwork
from rayograph.config.conditioning import ClassLabel
from rayograph.errors import ConfigError
from rayograph.models.conditioning import Conditioning

CLASS = "class"


class ClassLabelConditioner:
    """`facts` are those of the data or of a model: `class_names`. Without, nothing is known of them yet."""

    def __init__(self, declared: ClassLabel, facts: Mapping[str, Any] | None) -> None:
        self.declared = declared
        if declared.num_classes == "auto":
            raise ConfigError("num_classes: expected a number by now, got 'auto'")
        self.num_classes = declared.num_classes

    @property
    def distinct_examples(self) -> int:
        return self.num_classes

    def examples(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        return {CLASS: numbers % self.num_classes}

    def network(self, vector_width: int) -> "ClassEmbedding":
        return ClassEmbedding(self.num_classes, vector_width)


class ClassEmbedding(ConditionerNetwork):
    """The last vector is of no class."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes + 1, width)

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        return Conditioning(vector=self.embedding(columns[CLASS]))

    def null(self, count: int) -> Conditioning:
        # Not by the weight itself: where weights are kept apart (ZeRO-3), only a call of the module brings them.
        last, device = self.embedding.num_embeddings - 1, self.embedding.weight.device
        return Conditioning(vector=self.embedding(torch.full((count,), last, device=device)))
