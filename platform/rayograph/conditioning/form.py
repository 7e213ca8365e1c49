"""What people are asked for to have an image drawn: a field a column of a request, read off a model's conditioner."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

FieldKind = Literal["class", "text", "boxes", "map", "image", "mask", "json"]
"""What a page lets people choose, write, draw or drop in; "json" is any other value, written as JSON."""


@dataclass(frozen=True)
class FormField:
    """One column."""

    column: str
    kind: FieldKind
    required: bool = True
    """Whether every row must say it."""
    names: tuple[str, ...] = ()
    """Of classes or labels, by number; none where they have no names."""
    count: int | None = None
    """How many classes or labels there are; None where they are not counted."""
    most: int | None = None
    """Characters of a text, or boxes of an image, at most; None where there is no such bound."""

    @property
    def is_file(self) -> bool:
        """Whether what is given is the bytes of a file."""
        return self.kind in ("map", "image", "mask")


_BY_NAME: dict[str, FieldKind] = {"boxes": "boxes", "map": "map", "mask": "mask"}


def form_of(required: Mapping[str, pa.DataType], optional: Mapping[str, pa.DataType]) -> tuple[FormField, ...]:
    """Return a field a column, by its name or else by what it holds: text is text, and bytes are an image."""
    return tuple(
        FormField(name, _BY_NAME.get(name) or _kind_of(held), name in required)
        for name, held in (*required.items(), *optional.items())
    )


def _kind_of(held: pa.DataType) -> FieldKind:
    if pa.types.is_binary(held):
        return "image"
    return "text" if pa.types.is_string(held) else "json"
