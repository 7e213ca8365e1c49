"""A conditioner: a list of numbers in a sample's JSON."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PositiveInt

from rayograph.conditioning.member_columns import refuse, whole
from rayograph.conditioning.protocol import Conditioner
from rayograph.config.job.conditioners import CONDITIONERS, ConditionerKind
from rayograph.errors import DataError
from rayograph.models.specs import DenoiserSpec
from rayograph.shards.sample import Sample

if TYPE_CHECKING:
    from rayograph.conditioning.network import ConditionerNetwork


class VectorConditioner(Conditioner):
    """The work."""

    members = ("json",)

    def __init__(self, declared: "Vector", facts: Mapping[str, Any] | None) -> None:
        """Nothing has to be known of the data."""
        self.declared, self.field, self.size = declared, declared.field, declared.size
        self.takes = f"a {declared.field} of {declared.size} numbers"
        self.request_columns = {declared.field: pa.list_(pa.float32(), declared.size)}

    def decode(self, sample: Sample) -> dict[str, np.ndarray]:
        """The sample's numbers."""
        said = json.loads(sample.members.get("json", b"{}")).get(self.field)
        try:
            found = np.array(said, np.float32)
        except (TypeError, ValueError):
            found = np.empty(0, np.float32)
        if found.shape != (self.size,) or not np.isfinite(found).all():
            raise DataError(f"{sample.key}: expected {self.takes}, got {said!r}")
        return {self.field: found}

    def validate(self, rows: pa.Table) -> pa.Table:
        """A list of so many finite numbers in every row."""
        values = whole(rows[self.field])
        is_list = pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type)
        lengths = pc.list_value_length(values).fill_null(0) if is_list else pa.array([0] * len(values))
        refuse(self.field, np.array(lengths) != self.size, self.takes, values)
        numbers = np.array(values.flatten(), np.float32).reshape(-1, self.size)
        refuse(self.field, ~np.isfinite(numbers).all(axis=1), self.takes, values)
        return pa.table({self.field: values.cast(self.request_columns[self.field])})

    def examples(self, numbers: np.ndarray) -> pa.Table:
        """Zeros, where no request says more."""
        return pa.table({self.field: pa.array([[0.0] * self.size] * len(numbers), self.request_columns[self.field])})

    def network(self, spec: DenoiserSpec) -> "ConditionerNetwork":
        """One layer, and one vector for nothing."""
        import torch

        from rayograph.conditioning.network import ConditionerNetwork
        from rayograph.models.conditioning import Conditioning

        class Projection(ConditionerNetwork):
            def __init__(self, field: str, size: int) -> None:
                super().__init__()
                self.field, self.size = field, size
                width = spec.accepts.vector
                self.projection, self.nothing = torch.nn.Linear(size, width), torch.nn.Embedding(1, width)

            def embed(self, columns: Mapping[str, torch.Tensor]) -> Conditioning:
                return Conditioning(vector=self.projection(columns[self.field].to(self.projection.weight.dtype)))

            def null(self, count: int) -> Conditioning:
                rows = torch.zeros(count, dtype=torch.int64, device=self.projection.weight.device)
                return Conditioning(vector=self.nothing(rows))

        return Projection(self.field, self.size)


@CONDITIONERS.register
class Vector(ConditionerKind):
    """Numbers that the field of a sample's JSON lists."""

    implemented_by: ClassVar[str | type] = VectorConditioner

    kind: Literal["vector"] = "vector"
    field: str
    size: PositiveInt
