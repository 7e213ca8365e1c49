"""Several conditions at once: each reads its own members and columns, drops and has a null of its own.

Shapes: n rows, b batch, c conditions.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor, nn

from rayograph.conditioning.form import FormField
from rayograph.conditioning.network import ConditionerNetwork, Encode, FindExtractor
from rayograph.conditioning.protocol import Arrays, Conditioner
from rayograph.conditioning.seen import Canvas, Seen
from rayograph.conditioning.trained import conditioner_of
from rayograph.config.job.conditions.several import Several
from rayograph.errors import ConfigError
from rayograph.models.conditioning import Conditioning, together
from rayograph.models.specs import DenoiserSpec, LatentShape, Ways
from rayograph.shards.rows import Rows
from rayograph.shards.sample import Sample


def several_conditioner(declared: Several, facts: Mapping[str, Any] | None) -> "SeveralConditioner":
    """Hold each declared condition against the data. Raises ConfigError naming the one that does not fit."""
    parts = []
    for number, part in enumerate(declared.conditions):
        try:
            parts.append(conditioner_of(part, facts))
        except ConfigError as error:
            raise ConfigError(f"conditions.{number}.{error}") from error
    return SeveralConditioner(declared, tuple(parts))


class SeveralConditioner(Conditioner):
    """Its parts' members, columns and facts side by side."""

    def __init__(self, declared: Several, parts: tuple[Conditioner, ...]) -> None:
        """Raises ConfigError where two of them read the same column of a request."""
        settled = [
            found.declared.model_copy(update={"drop_probability": said.drop_probability})
            for found, said in zip(parts, declared.conditions, strict=True)
        ]
        self.declared = declared.model_copy(update={"conditions": tuple(settled)})
        self.parts = parts
        self.depends_on_view = any(part.depends_on_view for part in parts)
        self.needs_examples = any(part.needs_examples for part in parts)
        self.takes = " and ".join(part.takes for part in parts if part.request_columns) or "no condition"
        self.members = tuple(dict.fromkeys(name for part in parts for name in part.members))
        columns: dict[str, pa.DataType] = {}
        for number, part in enumerate(parts):
            for name, kind in part.columns.items():
                if name in columns:
                    raise ConfigError(f"conditions.{number}: expected columns that no other reads, got {name!r} again")
                columns[name] = kind
        self.request_columns: Mapping[str, pa.DataType] = {
            name: kind for name, kind in columns.items() if any(name in part.request_columns for part in parts)
        }
        self.optional_columns: Mapping[str, pa.DataType] = {
            name: kind for name, kind in columns.items() if name not in self.request_columns
        }

    @property
    def facts(self) -> dict[str, Any]:
        return {name: value for part in self.parts for name, value in part.facts.items()}

    def form(self) -> tuple[FormField, ...]:
        return tuple(field for part in self.parts for field in part.form())

    @property
    def remarks(self) -> tuple[str, ...]:
        return tuple(line for part in self.parts for line in part.remarks)

    @property
    def distinct_examples(self) -> int:
        return max(part.distinct_examples for part in self.parts)

    def decode(self, sample: Sample) -> Arrays:
        return _together(part.decode(sample) for part in self.parts)

    def decode_seen(self, sample: Sample, seen: Seen) -> Arrays:
        return _together(part.decode_seen(sample, seen) for part in self.parts)

    def decode_rows(self, groups: Sequence[tuple[Rows, np.ndarray]]) -> Arrays | None:
        found = []
        for part in self.parts:
            arrays = part.decode_rows(groups)
            if arrays is None:
                return None
            found.append(arrays)
        return _together(found)

    def request_value(self, column: str, value: Any) -> Any:
        owner = next((part for part in self.parts if column in part.columns), None)
        return value if owner is None else owner.request_value(column, value)

    def requested_by(self, sample: Sample, row: dict[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for part in self.parts for name, value in part.requested_by(sample, row, facts).items()}

    def validate(self, rows: pa.Table) -> pa.Table:
        there = rows.column_names
        return _side_by_side(
            part.validate(rows.select([name for name in part.columns if name in there])) for part in self.parts
        )

    def validate_sizes(self, rows: pa.Table, heights: np.ndarray, widths: np.ndarray) -> None:
        for part in self.parts:
            part.validate_sizes(rows, heights, widths)

    def arrays(self, rows: pa.Table) -> Arrays:
        return _together(part.arrays(rows) for part in self.parts)

    def arrays_on(self, rows: pa.Table, canvas: Canvas) -> Arrays:
        return _together(part.arrays_on(rows, canvas) for part in self.parts)

    def examples(self, numbers: np.ndarray) -> pa.Table:
        return _side_by_side(part.examples(numbers) for part in self.parts)

    def members_of(self, row: Mapping[str, Any]) -> dict[str, bytes]:
        return {name: data for part in self.parts for name, data in part.members_of(row).items()}

    def gives(self, latents: LatentShape) -> Ways:
        given = [part.gives(latents) for part in self.parts]
        return Ways(
            any(one.vector for one in given),
            any(one.cross_attention for one in given),
            sum(one.concat for one in given),
        )

    def network(self, spec: DenoiserSpec) -> "SeveralNetwork":
        never = [part.drop_probability == 0 for part in self.declared.conditions]
        return SeveralNetwork([part.network(spec) for part in self.parts], never)


class SeveralNetwork(ConditionerNetwork):
    """A condition that no training ever drops has no null: guidance keeps it on both sides."""

    def __init__(self, parts: Sequence[ConditionerNetwork], never_dropped: Sequence[bool]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self._never_dropped = tuple(never_dropped)

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        return self._each(lambda number, part: part.embed(columns))

    def null(self, count: int) -> Conditioning:
        return self._each(lambda number, part: part.null(count))

    def unconditional(self, columns: Mapping[str, Tensor], count: int) -> Conditioning:
        return self._each(
            lambda number, part: (
                part.embed(columns) if self._never_dropped[number] else part.unconditional(columns, count)
            )
        )

    def told(self, columns: Mapping[str, Tensor], keep: Tensor) -> Conditioning:
        """Each part by its own column of `keep` (b, c)."""
        return self._each(lambda number, part: part.told(columns, keep[:, number : number + 1]))

    def finished(self, pixels: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        for part in self._parts():
            pixels = part.finished(pixels, columns)
        return pixels

    def save_parts(self, folder: Path) -> None:
        for number, part in enumerate(self._parts()):
            part.save_parts(folder / str(number))

    def load_parts(self, folder: Path) -> None:
        for number, part in enumerate(self._parts()):
            part.load_parts(folder / str(number))

    def use_first_stage(self, encode: Encode) -> None:
        for part in self._parts():
            part.use_first_stage(encode)

    def use_extractors(self, find: FindExtractor) -> None:
        for part in self._parts():
            part.use_extractors(find)

    def _each(self, say: Callable[[int, ConditionerNetwork], Conditioning]) -> Conditioning:
        return together([say(number, part) for number, part in enumerate(self._parts())])

    def _parts(self) -> list[ConditionerNetwork]:
        return list(self.parts)  # type: ignore[arg-type]  # torch's stubs know them as modules


def _together(parts: Iterable[Arrays]) -> Arrays:
    return {name: values for part in parts for name, values in part.items()}


def _side_by_side(tables: Iterable[pa.Table]) -> pa.Table:
    return pa.table({name: table[name] for table in tables for name in table.column_names})
