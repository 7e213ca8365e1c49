"""Arrow columns of texts that may not be UTF-8."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

from rayograph.errors import DataError
from rayograph.ingest.sources.labels import NO_VALUE

MOST_FAULTS = 10_000
"""Rows of one table that may be wrong in themselves: with more the table is taken for something else."""

_WHOLE = "^-?(0|[1-9][0-9]{0,17})$"
_DECIMAL = r"^[-+]?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,2})?$"


class Faults(dict[int, str]):
    """What is wrong with rows of a table, by their numbers, the first reason of each. `where` is its address."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def add(self, row: int, reason: str) -> None:
        """Raises DataError for too many."""
        self.setdefault(row, reason)
        if len(self) > MOST_FAULTS:
            first = min(self)
            raise DataError(f"{self.where} row {first}: {self[first]} (and more than {MOST_FAULTS:,} rows like it)")

    def __reduce__(self) -> tuple[object, ...]:
        return _faults, (self.where, dict(self))


def _faults(where: str, reasons: dict[int, str]) -> Faults:
    made = Faults(where)
    made.update(reasons)
    return made


def text_array(values: Sequence[str | None]) -> pa.Array:
    """Texts as large_string; surrogates, which stand for bytes that were not UTF-8, become those bytes again."""
    encoded = [b"" if value is None else value.encode("utf-8", "surrogateescape") for value in values]
    there = [value is not None for value in values] if None in values else None
    return bytes_array(encoded, pa.large_string(), there)


def bytes_array(values: Sequence[bytes], kind: pa.DataType, there: list[bool] | None = None) -> pa.Array:
    """Values of a large type, in memory of just their size: Arrow's own way leaves as much again to its allocator."""
    ends = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value) for value in values], out=ends[1:])
    valid = None if there is None else pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(ends), pa.py_buffer(b"".join(values))])


def readable(column: pa.ChunkedArray, name: str, faults: Faults) -> pa.Array:
    """The texts of a column as one array, none where they are not UTF-8, which is a fault of their rows."""
    texts = column.cast(pa.large_string()).combine_chunks()
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return pa.array([_readable(scalar, row, name, faults) for row, scalar in enumerate(texts)], pa.large_string())
    return texts


def distinct(column: pa.ChunkedArray | pa.Array) -> set[str]:
    """The different texts of a column; those that are not UTF-8 are their rows' affair."""
    found = pa.compute.unique(column)
    try:
        return {text for text in found.to_pylist() if text is not None}
    except UnicodeDecodeError:
        values = found.cast(pa.large_binary()).to_pylist()
        return {value.decode() for value in values if value is not None and _is_utf8(value)}


def typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers and truths where all texts of a column are such, or else the texts; an empty one is none."""
    values = column.filter(pa.compute.invert(pa.compute.is_in(column, pa.array(sorted(NO_VALUE), pa.large_string()))))
    if not len(values) or values.null_count == len(values):
        return column
    for pattern, kind in ((_WHOLE, pa.int64()), (_DECIMAL, pa.float64()), ("^([Tt]rue|[Ff]alse)$", pa.bool_())):
        try:
            if pa.compute.all(pa.compute.match_substring_regex(values, pattern)).as_py():
                missing = pa.compute.is_in(column, pa.array(sorted(NO_VALUE), pa.large_string()))
                return pa.compute.if_else(missing, pa.scalar(None, pa.large_string()), column).cast(kind)
        except pa.ArrowInvalid:  # beyond the type, or not UTF-8
            continue
    return column


def _readable(scalar: pa.Scalar, row: int, name: str, faults: Faults) -> str | None:
    try:
        text: str | None = scalar.as_py()
    except UnicodeDecodeError as error:
        faults.add(row, f"expected text in UTF-8 in column {name!r}: {error}")
        return None
    return text


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
