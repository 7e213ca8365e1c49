"""Columns of a request's rows, of what its file holds: CSV has no types, and JSON looser ones than a table."""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rayograph.conditioning.member_columns import shown
from rayograph.conditioning.protocol import Conditioner
from rayograph.conditioning.values import is_exact, real_number, whole_number
from rayograph.config.declaration import is_unicode
from rayograph.errors import DataError
from rayograph.sampling.requests.options import options

PLACES = {"count": pa.int64(), "seed": pa.uint64(), "prompt": pa.string(), "width": pa.int64(), "height": pa.int64()}
"""Columns that mean something whatever the model: what they hold."""

SEEDS = "a whole number from 0 to 2⁶⁴ - 1"


def known_columns(conditioner: Conditioner) -> dict[str, pa.DataType]:
    """The columns that mean something, and what they hold."""
    return PLACES | {option.name: option.kind for option in options()} | conditioner.columns


@dataclass(frozen=True)
class TypedColumns:
    """Columns of what files hold that have no types, or looser ones."""

    conditioner: Conditioner
    known: Mapping[str, pa.DataType]

    def of_texts(self, name: str, values: Iterable[str], where: str, first: int) -> pa.Array:
        """An empty value is none; lists are written as JSON."""
        texts = [value or None for value in values]
        kind = self.known.get(name, pa.string())
        if pa.types.is_string(kind) or pa.types.is_binary(kind):  # of a file, where it lies
            return pa.array(texts, pa.string())
        if pa.types.is_nested(kind):
            return _array(
                name, [_list(value, f"{where} row {at}: {name}") for at, value in enumerate(texts, first)], where, first
            )
        real = pa.types.is_floating(kind)
        numbers: list[float | None] = []
        for at, value in enumerate(texts, first):
            number = None if value is None else real_number(value) if real else whole_number(value.strip())
            if value is not None and number is None:
                what = "a number" if real else "a whole number"
                raise DataError(f"{where} row {at}: {name}: expected {what}, got {shown(value)}")
            numbers.append(number)
        return _array(name, numbers, where, first)

    def of_values(self, name: str, values: list[Any], where: str, first: int) -> pa.Array:
        """A whole number may be written as a float."""
        if name in self.conditioner.columns:
            values = [self._conditions(name, value, f"{where} row {at}") for at, value in enumerate(values, first)]
        elif name in self.known and pa.types.is_integer(self.known[name]):
            values = [int(value) if type(value) is float and is_exact(value) else value for value in values]
        return _array(name, values, where, first)

    def _conditions(self, name: str, value: Any, where: str) -> Any:
        try:
            return self.conditioner.request_value(name, value)
        except ValueError as error:
            raise DataError(f"{where}: {name}: expected {error}, got {shown(value)}") from None


def _list(text: str | None, where: str) -> list[Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise DataError(f"{where}: expected a list in JSON, got {shown(text)}")
    return found


def _array(name: str, values: list[Any], where: str, first: int) -> pa.Array:
    """Raises DataError for the first value that does not go with those before it."""
    seeds = name == "seed" and all(value is None or type(value) is int for value in values)
    kind = PLACES["seed"] if seeds else None  # Arrow itself takes integers to be below 2⁶³
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        at = bisect_left(range(len(values)), True, key=lambda last: not _goes(values[: last + 1], kind))
    kinds = " or ".join(sorted({type(value).__name__ for value in values[:at] if value is not None})) or "a value"
    expected = kinds if type(values[at]).__name__ != kinds else f"{kinds} of at most 64 bits"
    if seeds:
        expected = SEEDS
    elif isinstance(values[at], str) and not is_unicode(values[at]):
        expected = "text in UTF-8"
    raise DataError(f"{where} row {first + at}: {name}: expected {expected}, got {shown(values[at])}")


def _goes(values: list[Any], kind: pa.DataType | None) -> bool:
    try:
        pa.array(values, kind)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return False
    return True
