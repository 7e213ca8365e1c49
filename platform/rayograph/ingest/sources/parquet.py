"""Parquet files as a source: read row group after row group, by ranges, never a whole file at once."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from rayograph.config import ParquetTable
from rayograph.errors import DataError
from rayograph.ingest.sources.base import Rejected, Row, Task
from rayograph.ingest.sources.listing import unique_names
from rayograph.ingest.sources.naming import choose
from rayograph.ingest.sources.places import Places, ahead, files_below
from rayograph.ingest.sources.tables import Cells, TableRows, cells_of, columns_to_read, holds_addresses, labels_of
from rayograph.runs.digests import sha256
from rayograph.storage import Access
from rayograph.storage.range_file import RangeFile

_BUFFER_BYTES = 4 << 20
"""Of each column, read at once."""

_PIECES = 16
"""Into so many a row group of addresses is cut at most: each piece reads the group from its beginning."""


class ParquetFiles:
    """Files of one schema; a task is a few row groups of one, or of a table of URIs a piece of one."""

    unit = "images"

    def __init__(self, declared: ParquetTable, endpoint_url: Access) -> None:
        self._store, files = files_below(declared.uri, endpoint_url, ".parquet")
        self._keys = [key for key, _ in files]
        self._names = unique_names([key.removesuffix(".parquet") for key in self._keys])
        self._endpoint_url = endpoint_url
        schemas = []
        self._groups: list[list[int]] = []
        for schema, groups in ahead(self._footer, self._keys):
            schemas.append(schema)
            self._groups.append(groups)
        first = self._store.uri_of(self._keys[0])
        self._chosen = choose(declared.columns, schemas[0].names, first)
        for key, schema in zip(self._keys, schemas, strict=True):
            self._check(key, schema, first)
        self._addresses = holds_addresses(schemas[0], self._chosen)
        self._labels = labels_of(declared.columns, schemas[0], self._chosen, self._distinct_labels)
        self.class_names = list(self._labels.names) if self._labels else []
        self.fingerprint = sha256(json.dumps([files, self._groups]).encode())[:16]

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        cuts = [
            (part, start, stop)
            for part, groups in enumerate(self._groups)
            for start, stop in _ranges(groups, rows, _PIECES if self._addresses else 1)
        ]
        return [Task(number, part, start, stop, stop - start) for number, (part, start, stop) in enumerate(cuts)]

    def rows(self, task: Task) -> Iterator[Row | Rejected]:
        key = self._keys[task.part]
        where = self._store.uri_of(key)
        table = TableRows(self._chosen, Places(where.rpartition("/")[0], self._endpoint_url), self._labels, where)
        work = partial(_row, table, self._names[task.part])
        numbered = self._cells(task)
        return ahead(work, numbered) if self._addresses else map(work, numbered)

    def _cells(self, task: Task) -> Iterator[tuple[int, Cells]]:
        key, groups = self._keys[task.part], self._groups[task.part]
        ends = list(accumulate(groups))
        wanted = [n for n, end in enumerate(ends) if end > task.start and end - groups[n] < task.stop]
        at = ends[wanted[0]] - groups[wanted[0]]
        with self._reading(key) as file:
            columns = columns_to_read(file.schema_arrow, self._chosen, self._store.uri_of(key))
            batches = file.iter_batches(256 if self._addresses else 16, wanted, columns, use_threads=False)
            for batch in batches:
                first, last = max(at, task.start), min(at + len(batch), task.stop)
                if first < last:
                    yield from zip(
                        range(first, last), cells_of(batch[first - at : last - at], self._chosen), strict=True
                    )
                at += len(batch)
                if at >= task.stop:
                    return

    def _footer(self, key: str) -> tuple[pa.Schema, list[int]]:
        with self._reading(key) as file:
            footer = file.metadata
            return file.schema_arrow, [footer.row_group(n).num_rows for n in range(footer.num_row_groups)]

    def _check(self, key: str, schema: pa.Schema, first: str) -> None:
        uri = self._store.uri_of(key)
        lacks = sorted(self._chosen.names - set(schema.names))
        if lacks:
            raise DataError(
                f"{uri}: expected a column {lacks[0]!r}, as {first} has it, got columns {', '.join(schema.names)}"
            )
        columns_to_read(schema, self._chosen, uri)

    def _distinct_labels(self) -> Iterable[str | None]:
        found: set[str | None] = set()
        for names in ahead(self._distinct_labels_of, self._keys):
            found |= names
        return found

    def _distinct_labels_of(self, key: str) -> set[str | None]:
        found: set[str | None] = set()
        with self._reading(key) as file:
            for batch in file.iter_batches(65_536, columns=[self._chosen.label], use_threads=False):
                found |= set(pa.compute.unique(batch.column(0)).to_pylist())
        return found

    @contextmanager
    def _reading(self, key: str) -> Iterator[pa.parquet.ParquetFile]:
        """Raises DataError for a file that is no parquet, or is damaged."""
        try:
            with pa.parquet.ParquetFile(
                RangeFile(self._store, key), pre_buffer=False, buffer_size=_BUFFER_BYTES
            ) as file:
                yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            said = " ".join(str(error).split())
            raise DataError(f"{self._store.uri_of(key)}: expected a parquet file: {said}") from error


def _row(table: TableRows, name: str, numbered: tuple[int, Cells]) -> Row | Rejected:
    number, cells = numbered
    return table.row(number, f"{name}-{number:06d}", cells)


def _ranges(groups: list[int], rows: int, pieces: int) -> Iterator[tuple[int, int]]:
    """Row groups together until there are `rows`; a larger one alone, in up to `pieces` of equal size."""
    start = stop = 0
    for size in groups:
        if stop > start and stop + size - start > rows:
            yield start, stop
            start = stop
        stop += size
        if stop - start > rows and pieces > 1:
            width = max(rows, -(-(stop - start) // pieces))
            yield from ((first, min(first + width, stop)) for first in range(start, stop, width))
            start = stop
    if stop > start:
        yield start, stop
