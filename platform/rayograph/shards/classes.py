"""Classes as the `cls` members of samples hold them: whole numbers from 0, or names."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from rayograph.errors import DataError
from rayograph.json_types import Json

MOST_CLASSES = 65_536
"""Larger numbers, or more names, are taken for something else's, such as identifiers: for data without classes."""

_MOST_DIGITS = 18
_NUMERIC = frozenset("0123456789+-.")

Held = Literal["number", "name", "none"]
"""What the members hold: "none" where a sample has none, or they are no classes."""


class Classes(NamedTuple):
    """What some samples' members hold: how many have none, the largest number, and the names, sorted.

    `names` is None where there are more than `MOST_CLASSES`.
    """

    missing: int
    largest: int | None
    names: list[str] | None


def parse_class(data: bytes) -> int | str:
    """Return the number or the name. Raises ValueError saying what was expected for neither."""
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        text = ""
    if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS:
        return int(text)
    if not text or not text.isprintable() or (text[0] in _NUMERIC and _is_number(text)):
        raise ValueError(f"expected a class's number from 0 or its name, got {data[:40]!r}")
    return text


def fault_of(data: bytes) -> str | None:
    """Return what is wrong with a member `cls`; None where it holds a class."""
    try:
        parse_class(data)
    except ValueError as error:
        return str(error)
    return None


def classes_in(members: Iterable[bytes | None]) -> Classes:
    """Return what the samples' members hold, None standing for none. Raises ValueError as `parse_class` does."""
    missing, largest, names = 0, -1, set[str]()
    for data in members:
        found = None if data is None else parse_class(data)
        if found is None:
            missing += 1
        elif isinstance(found, int):
            largest = max(largest, found)
        elif len(names) <= MOST_CLASSES:
            names.add(found)
    return Classes(missing, None if largest < 0 else largest, sorted(names) if len(names) <= MOST_CLASSES else None)


def combined(parts: Iterable[tuple[str, Classes]]) -> tuple[list[str], Held]:
    """Return the classes' names by their numbers, of shards given by name, and what their members hold.

    Names are numbered in sorted order. Raises DataError, naming shards, where some hold numbers and others names.
    """
    numbered: tuple[str, int] | None = None
    named: tuple[str, str] | None = None
    missing, names, too_many = 0, set[str](), False
    for shard, found in parts:
        missing += found.missing
        if found.largest is not None and (numbered is None or found.largest > numbered[1]):
            numbered = (shard, found.largest)
        if found.names is None:
            too_many = True
        elif found.names:
            named = named or (shard, found.names[0])
            names.update(found.names)
    if numbered and named:
        raise DataError(
            f"{named[0]}: expected classes (cls) that are all names or all numbers, got {named[1]!r} here and "
            f"{numbered[1]} in {numbered[0]}"
        )
    if missing or too_many or len(names) > MOST_CLASSES or (numbered and numbered[1] >= MOST_CLASSES):
        return [], "none"
    if numbered:
        return [str(number) for number in range(numbered[1] + 1)], "number"
    return sorted(names), "name" if names else "none"


def as_fact(classes: Classes) -> dict[str, Json]:
    """Return them as a sidecar's facts hold them."""
    return classes._asdict()


def from_fact(fact: object) -> Classes | None:
    """Return what `as_fact` gave; None for anything else."""
    match fact:
        case {"missing": int() as missing, "largest": int() | None as largest, "names": list() | None as names}:
            if names is None or all(isinstance(name, str) for name in names):
                return Classes(missing, largest, names)
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
