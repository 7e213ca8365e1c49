"""No condition: the denoiser is told nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from rayograph.conditioning.network import ConditionerNetwork
from rayograph.conditioning.protocol import Arrays, Conditioner
from rayograph.config.job.conditioners import Unconditional
from rayograph.models.conditioning import Conditioning
from rayograph.models.specs import DenoiserSpec
from rayograph.shards.rows import Rows
from rayograph.shards.sample import Sample


class UnconditionalConditioner(Conditioner):
    """Reads nothing."""

    takes = "no condition"
    members = ()
    request_columns: Mapping[str, pa.DataType] = {}

    def __init__(self, declared: Unconditional, facts: Mapping[str, Any] | None) -> None:
        self.declared = declared

    def decode(self, sample: Sample) -> Arrays:
        return {}

    def decode_rows(self, groups: Sequence[tuple[Rows, np.ndarray]]) -> Arrays:
        return {}

    def validate(self, rows: pa.Table) -> pa.Table:
        return rows

    def examples(self, numbers: np.ndarray) -> pa.Table:
        return pa.table({})

    def network(self, spec: DenoiserSpec) -> "Nothing":
        return Nothing()


class Nothing(ConditionerNetwork):
    """Says nothing."""

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        return Conditioning()

    def null(self, count: int) -> Conditioning:
        return Conditioning()
