"""Columns of a request, checked whole: what is wrong is said of the first row.

Shapes: n rows.
"""

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
