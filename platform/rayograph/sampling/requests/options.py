"""What a request's rows may say of the sampler: read off its declaration, so that a new option is named there alone."""

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args, get_origin

import annotated_types
import pyarrow as pa

from rayograph.config import Sampler
from rayograph.config.job.schedules import PER_ROW, PER_SAMPLE


@dataclass(frozen=True)
class Option:
    """A field of `Sampler` that a column of its name may replace."""

    name: str
    kind: pa.DataType
    low: float
    high: float
    choices: tuple[str, ...]
    """Of text: all there are."""
    per_sample: bool
    """Whether it may differ within a batch."""

    @property
    def default(self) -> float | str:
        """What counts where neither job nor row says otherwise."""
        found: float | str = Sampler.model_fields[self.name].default
        return found


@cache
def options() -> tuple[Option, ...]:
    """All of them, in the declaration's order."""
    found = []
    for name, field in Sampler.model_fields.items():
        if PER_ROW not in field.metadata and PER_SAMPLE not in field.metadata:
            continue
        bounds = {type(bound): bound for bound in field.metadata}
        low, high = bounds.get(annotated_types.Ge), bounds.get(annotated_types.Le)
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        kind = pa.string() if choices else pa.int64() if field.annotation is int else pa.float64()
        found.append(
            Option(
                name,
                kind,
                1 if annotated_types.Gt in bounds else float("-inf") if low is None else low.ge,
                float("inf") if high is None else high.le,
                choices,
                PER_SAMPLE in field.metadata,
            )
        )
    return tuple(found)


def per_sample() -> tuple[str, ...]:
    """Names of those that may differ within a batch."""
    return tuple(option.name for option in options() if option.per_sample)
