"""Columns of a request, checked whole: what is wrong is said of the first row.

Shapes: n rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from rayograph.errors import DataError


class WrongRow(DataError):
    """A column's value that is not what was expected. `row` counts from the table's first."""

    def __init__(self, row: int, column: str, expected: str, got: str) -> None:
        super().__init__(f"row {row}: {column}: expected {expected}, got {got}")
        self.row, self.column, self.expected, self.got = row, column, expected, got


def refuse(column: str, wrong: np.ndarray, expected: str, values: Any) -> None:
    """Raise WrongRow for the first of `values` (n,) where `wrong` (n,) is true."""
    if wrong.any():
        row = int(np.argmax(wrong))
        value = values[row]
        raise WrongRow(row, column, expected, shown(value.as_py() if isinstance(value, pa.Scalar) else value.item()))


def shown(value: Any) -> str:
    """A value of a row, for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}… ({len(text)} characters)"


def nulls(values: pa.Array) -> np.ndarray:
    """(n,) bool: where nothing is said."""
    found: np.ndarray = values.is_null().to_numpy(zero_copy_only=False)
    return found


def whole(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array of a column's chunks."""
    if isinstance(values, pa.ChunkedArray):
        return pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    return values


def to_array(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(n,) of numbers without nulls; (n, d) of lists of fixed size."""
    values = whole(values)
    if pa.types.is_fixed_size_list(values.type):
        return np.array(values.flatten()).reshape(len(values), values.type.list_size)
    return np.array(values)  # a copy, which may be written to


def check_files(
    column: str, what: str, values: pa.Array | pa.ChunkedArray, read: Callable[[bytes, str], object]
) -> None:
    """Read every different file of a column once, as `read(data, name)`.

    Raises WrongRow for the first row without one, and for the first whose file `read` raises DataError for.
    """
    values = whole(values)
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    places = np.array(values.indices.fill_null(-1))
    expected = f"the bytes of {what}"
    refuse(column, places < 0, expected, values)
    _, rows = np.unique(places, return_index=True)
    for row in sorted(rows.tolist()):
        data = values.dictionary[int(places[row])].as_py()
        if not isinstance(data, bytes):
            raise WrongRow(row, column, expected, shown(data))
        try:
            read(data, "it")
        except DataError as error:
            told, _, got = str(error).removeprefix("it: expected ").rpartition(", got ")
            raise WrongRow(row, column, told or what, got or str(error)) from error
