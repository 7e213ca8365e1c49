"""Tables as spreadsheets write them: CSV, whatever stands between the cells and whichever way lines end.

A table is read block by block. Where a block's bytes show that all its rows are plain, they are cut at once
(csv_blocks.py); any other goes through Python's reader, which says which row is wrong.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from rayograph.errors import DataError
from rayograph.ingest.sources.naming import require_different
from rayograph.ingest.sources.tables.csv_blocks import Lines, blocks, cut_plainly
from rayograph.ingest.sources.tables.texts import Faults, text_array
from rayograph.shards.pixels.decode import EXTENSIONS
from rayograph.storage import ObjectStore
from rayograph.storage.range_file import RangeFile

CELL_CHARACTERS = 16 << 20
"""No cell of a table may be longer."""

_BUFFER_BYTES = 4 << 20
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_BETWEEN = ",;\t|"  # the first that divides the header
_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # as Excel says it in a line of its own
_SWALLOWED = re.compile(rf"\n[^\n]*\.(?:{'|'.join(EXTENSIONS)})\"?\s*[,;\t|]", re.IGNORECASE)


def read_csv(store: ObjectStore, key: str) -> tuple[pa.Table, Faults]:
    """All cells as text, and what is wrong with single rows.

    Raises DataError naming the row for quotes that do not close as they should, and for a table without rows.
    """
    where = store.uri_of(key)
    with io.BufferedReader(RangeFile(store, key), _BUFFER_BYTES) as file, _long_cells():
        encoding = next((name for mark, name in _MARKS if file.peek(4).startswith(mark)), "utf-8")
        try:
            return _Reader(blocks(file, encoding), where).read()
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: expected a table in {encoding}: {error}") from error


@contextmanager
def _long_cells() -> Iterator[None]:
    """Other readers of the process keep their own limit."""
    before = csv.field_size_limit(CELL_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(before)


class _Reader:
    """Reads the blocks of a table, whole lines each."""

    def __init__(self, parts: Iterator[bytes], where: str) -> None:
        self._parts, self._where = parts, where
        self._faults = Faults(where)
        self._lines = Lines(parts)
        self._row, self._line = -1, 1  # of the next record
        self._chunks: list[list[pa.Array]] = []

    def read(self) -> tuple[pa.Table, Faults]:
        between, spaced = self._start()
        header = [name.strip() or f"column {number}" for number, name in enumerate(self._next() or [])]
        if not header:
            raise DataError(f"{self._where}: expected a table: it is empty")
        require_different(header, self._where)
        self._odd_rows(len(header))
        for block in self._parts:
            cut = None if spaced else cut_plainly(block, between, len(header))
            if cut is not None:
                self._chunks.append(cut)
                self._row += len(cut[0])
                self._line += block.count(b"\n")
            else:
                self._lines.take(block)
                # One reader a block: at a block's end no row is open.
                self._begin(between, spaced)
                self._odd_rows(len(header))
        columns = zip(*self._chunks, strict=True) if self._chunks else [()] * len(header)
        return pa.table([pa.chunked_array(parts, pa.large_string()) for parts in columns], header), self._faults

    def _start(self) -> tuple[str, bool]:
        """Past empty lines and one that says what stands between cells. What does, and whether blanks follow it."""
        start = next(self._lines, "")
        said = None
        while not said and ((said := _SEPARATOR.fullmatch(start)) or (start and not start.strip())):
            self._line, start = self._line + 1, next(self._lines, "")
        between = said[1] if said else next((mark for mark in _BETWEEN if mark in start), ",")
        cells = start.split(between)
        spaced = len(cells) > 1 and all(cell.startswith(" ") for cell in cells[1:])
        if start:
            self._lines.put_back(start)
        self._begin(between, spaced)
        return between, spaced

    def _begin(self, between: str, spaced: bool) -> None:
        self._before = self._line - 1
        self._reader = csv.reader(self._lines, delimiter=between, skipinitialspace=spaced, strict=True)

    def _next(self) -> list[str] | None:
        """The next row that is not empty; None where the lines end."""
        while True:
            try:
                record = next(self._reader, None)
            except csv.Error as error:
                raise DataError(f"{self._at()}: expected quotes that close: {error}") from error
            if record is None:
                return None
            several = self._reader.line_num + self._before > self._line
            if several and any(_SWALLOWED.search(cell) for cell in record if "\n" in cell):
                raise DataError(
                    f"{self._at()}: expected quotes that close: one opens here that takes in the rows of other images"
                )
            self._line = self._before + self._reader.line_num + 1
            if record:
                self._row += 1
                return record

    def _at(self) -> str:
        return f"{self._where} {'header' if self._row < 0 else f'row {self._row}'} (line {self._line})"

    def _odd_rows(self, width: int) -> None:
        """The rows of the lines that were taken, `width` cells each; one of another width is a fault, and has none."""
        chunk: list[list[str | None]] = []
        nothing: list[str | None] = [None] * width
        while self._lines:
            record = self._next()
            if record is None:
                break
            if len(record) > width and not any(cell.strip() for cell in record[width:]):
                record = record[:width]
            if len(record) != width:
                self._faults.add(self._row - 1, f"expected {width} cells, as the header has, got {len(record)}")
            chunk.append(list(record) if len(record) == width else nothing)
        if chunk:
            self._chunks.append([text_array(column) for column in zip(*chunk, strict=True)])
