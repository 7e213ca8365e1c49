"""Tables as spreadsheets write them: CSV, whatever stands between the cells and whichever way lines end."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from rayograph.errors import DataError
from rayograph.ingest.sources.naming import require_different
from rayograph.ingest.sources.texts import Faults, text_array
from rayograph.shards.images import EXTENSIONS
from rayograph.storage import ObjectStore
from rayograph.storage.range_file import RangeFile

CELL_CHARACTERS = 16 << 20
"""No cell of a table may be longer."""

_BUFFER_BYTES = 4 << 20
_CHUNK_ROWS = 8192
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_BETWEEN = ",;\t|"  # the first that divides the header
_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # as Excel says it in a line of its own
_SWALLOWED = re.compile(rf"\n[^\n]*\.(?:{'|'.join(EXTENSIONS)})\"?\s*[,;\t|]", re.IGNORECASE)


def read_csv(store: ObjectStore, key: str) -> tuple[pa.Table, Faults]:
    """All cells as text, and what is wrong with single rows.

    Raises DataError naming the row for quotes that do not close as they should, and for a table without rows.
    """
    where = store.uri_of(key)
    faults, rows = Faults(where), 0
    with io.BufferedReader(RangeFile(store, key), _BUFFER_BYTES) as file:
        encoding = next((name for mark, name in _MARKS if file.peek(4).startswith(mark)), "utf-8")
        escape = "strict" if encoding == "utf-16" else "surrogateescape"
        with _long_cells(), io.TextIOWrapper(file, encoding, escape, newline="") as lines:
            try:
                records = _records(lines, where)
                header = [name.strip() or f"column {number}" for number, name in enumerate(next(records, []))]
                if not header:
                    raise DataError(f"{where}: expected a table: it is empty")
                require_different(header, where)
                chunks = []
                for chunk in _chunks(records, len(header), faults):
                    chunks.append([text_array(column) for column in zip(*chunk, strict=True)])
                    rows += len(chunk)
            except UnicodeDecodeError as error:
                raise DataError(f"{where}: expected a table in {encoding}: {error}") from error
    columns = [pa.chunked_array([chunk[n] for chunk in chunks], pa.large_string()) for n in range(len(header))]
    return pa.table(columns, header), faults


@contextmanager
def _long_cells() -> Iterator[None]:
    """Other readers of the process keep their own limit."""
    before = csv.field_size_limit(CELL_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _records(lines: io.TextIOWrapper, where: str) -> Iterator[list[str]]:
    """The header and the rows, without empty lines."""
    before, start = 0, lines.readline()
    while (said := _SEPARATOR.fullmatch(start)) or (start and not start.strip()):
        before, start = before + 1, lines.readline()
        if said:
            break
    between = said[1] if said else next((mark for mark in _BETWEEN if mark in start), ",")
    cells = start.split(between)
    spaced = len(cells) > 1 and all(cell.startswith(" ") for cell in cells[1:])
    reader = csv.reader(_after(start, lines), delimiter=between, skipinitialspace=spaced, strict=True)
    number, line = -1, 1
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{_at(where, number, line + before)}: expected quotes that close: {error}") from error
        if record is None:
            return
        if record:
            if reader.line_num > line and any(_SWALLOWED.search(cell) for cell in record if "\n" in cell):
                raise DataError(
                    f"{_at(where, number, line + before)}: expected quotes that close: one opens here that takes in "
                    "the rows of other images"
                )
            yield record
            number += 1
        line = reader.line_num + 1


def _after(start: str, lines: io.TextIOWrapper) -> Iterator[str]:
    yield start
    yield from lines


def _at(where: str, number: int, line: int) -> str:
    return f"{where} {'header' if number < 0 else f'row {number}'} (line {line})"


def _chunks(records: Iterator[list[str]], width: int, faults: Faults) -> Iterator[list[list[str | None]]]:
    """Rows of `width` cells each; one of another width is a fault, and has none."""
    chunk: list[list[str | None]] = []
    nothing: list[str | None] = [None] * width
    for number, record in enumerate(records):
        if len(record) > width and not any(cell.strip() for cell in record[width:]):
            record = record[:width]
        if len(record) != width:
            faults.add(number, f"expected {width} cells, as the header has, got {len(record)}")
        chunk.append(list(record) if len(record) == width else nothing)
        if len(chunk) == _CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
