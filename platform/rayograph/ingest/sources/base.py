"""What every source promises: it is cut into tasks before any work, and gives the rows of any one of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rayograph.errors import DataError


@dataclass(frozen=True)
class Boxes:
    """`places` (n, 4) float64: x, y, w, h in pixels of the upright image; `labels`, if there are any, one a box."""

    places: np.ndarray
    labels: list[str | int] | None = None


@dataclass(frozen=True)
class Row:
    """One image as the source has it, and what belongs to it. Nothing is decoded yet."""

    key: str
    place: str
    """Where it lies, for messages."""
    image: bytes = field(repr=False)
    label: int | None = None
    caption: str | None = None
    boxes: Boxes | None = None
    mask: bytes | None = field(default=None, repr=False)
    metadata: dict[str, Any] = field(default_factory=dict)
    """What else is known: values that JSON has."""


@dataclass(frozen=True)
class Rejected:
    """One that is left out. `counted` is False where the source itself says that it never got the image."""

    key: str
    reason: str
    counted: bool = True


@dataclass(frozen=True)
class Task:
    """Rows [start, stop) of one part of a source. What a part is, and whether ranges mean anything, the source knows.

    `size` counts what `Source.unit` says.
    """

    number: int
    part: int
    start: int
    stop: int
    size: int


@runtime_checkable
class Source(Protocol):
    """A source, opened. It travels to workers, and holds columns rather than an object an image."""

    class_names: list[str]
    """Empty where classes are numbers without names, or there are none."""
    unit: str
    """What tasks' sizes count: "images", or "tars" where nobody knows how many images there are."""
    fingerprint: str
    """Of what was found there: a pack does not go on with a source that has changed since."""

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        """Tasks of about `rows` rows each. Raises DataError where a split is known to be empty."""
        ...

    def rows(self, task: Task) -> Iterator[Row | Rejected]:
        """The same rows every time. Raises DataError for a file that cannot be read at all."""
        ...


def require_rows(split: str, found: int, total: int) -> None:
    """Raises DataError for a split without a row."""
    if not found:
        raise DataError(f"pack: expected images in the {split} split, got none of {total} (held_out_fraction)")
