"""What every source promises: it is cut into tasks before any work, and gives the rows of any one of them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rayograph.errors import DataError, RayographError

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")  # of an object in memory
_MOST_CHARACTERS = 1000


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
    split: str | None = None
    """Where the source itself says which split it is of."""
    group: str | None = None
    """What stays together in one split, as tiles of one photograph: its hash decides in the place of the key's."""
    captions_left: int = 0
    """How many further captions it has, which were not asked for."""
    map: bytes | None = field(default=None, repr=False)
    """A semantic map: as a mask an image of class indices, as large as the image."""
    members: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Further members by extension, packed as they are: what holds of the middle square of the image."""


@dataclass(frozen=True)
class Rejected:
    """One that is left out. `counted` is False where the source itself says that it never got the image."""

    key: str
    reason: str
    counted: bool = True


@dataclass(frozen=True)
class LeftOut:
    """One that was not asked for, as a tile without detail: counted by kind, and nothing is wrong with it."""

    kind: str


@dataclass(frozen=True)
class Findings:
    """What was seen of a source before any work, for the console and the manifest; no path stands in it."""

    passed_over: dict[str, int] = field(default_factory=dict)
    """Files that were not taken, by kind."""
    notes: tuple[str, ...] = ()
    """How the source was read where it can be read in more than one way."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest says of it: `origin`, `licence` and `attribution`, what numbers of maps mean."""


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
    findings: Findings

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        """Tasks of about `rows` rows each. Raises DataError where a split is known to be empty."""
        ...

    def rows(self, task: Task) -> Iterator[Row | Rejected | LeftOut]:
        """The same rows every time. Raises DataError for a file that cannot be read at all."""
        ...


def rejected(key: str, where: str, error: Exception) -> Rejected:
    """One row's rejection, whatever went wrong: a line that is the same each time, and that any file can hold."""
    said = str(error) if isinstance(error, RayographError) else f"{where}: {type(error).__name__}: {error}"
    return Rejected(plain(key), plain(" ".join(_ADDRESS.sub("0x…", said).split())[:_MOST_CHARACTERS]))


def plain(text: str) -> str:
    """Text without single surrogates, which no file can hold: they are written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def require_rows(split: str, found: int, total: int) -> None:
    """Raises DataError for a split without a row."""
    if not found:
        raise DataError(f"pack: expected images in the {split} split, got none of {total} (held_out_fraction)")
