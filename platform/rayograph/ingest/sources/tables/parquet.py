"""Parquet files as a source: read row group after row group, by ranges, never a whole file at once."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from rayograph.config import ParquetTable
from rayograph.errors import DataError
from rayograph.ingest.sources.ahead import ahead
from rayograph.ingest.sources.below import files_below
from rayograph.ingest.sources.file_listing import unique_names
from rayograph.ingest.sources.labels import Labels, labels_of_texts
from rayograph.ingest.sources.naming import choose, require_different
from rayograph.ingest.sources.source import Findings, Rejected, Row, Task
from rayograph.ingest.sources.splits import file_split, files_are_splits
from rayograph.ingest.sources.tables.hive import hive_columns
from rayograph.ingest.sources.tables.table_rows import (
    Cells,
    TableRows,
    cells_of,
    columns_to_read,
    holds_addresses,
    hugging_face_names,
    is_text,
    left_out,
    value_type,
)
from rayograph.ingest.sources.tables.texts import distinct
from rayograph.runs.digests import sha256
from rayograph.runs.manifest import HELD_OUT, TRAIN
from rayograph.storage import Access
from rayograph.storage.places import Places
from rayograph.storage.range_file import RangeFile

_BUFFER_BYTES = 4 << 20
"""Of each column, read at once."""

_PIECES = 16
"""Into so many a row group of addresses is cut at most: each piece reads the group from its beginning."""


class ParquetFiles:
    """Files of one schema; a task is a few row groups of one, or of a table of URIs a piece of one."""

    unit = "images"

    def __init__(self, declared: ParquetTable, endpoint_url: Access) -> None:
        self._store, files, passed_over = files_below(declared.uri, endpoint_url, ".parquet")
        self._keys = [key for key, _ in files]
        self._names = unique_names([key.removesuffix(".parquet") for key in self._keys])
        self._endpoint_url, self._declared = endpoint_url, declared
        self._hive = hive_columns(self._keys, self._store.uri)
        schemas = []
        self._groups: list[list[int]] = []
        for schema, groups in ahead(self._footer, range(len(self._keys))):
            schemas.append(schema)
            self._groups.append(groups)
        first = self._store.uri_of(self._keys[0])
        self._chosen = choose(declared.columns, schemas[0].names, first)
        for key, schema in zip(self._keys, schemas, strict=True):
            self._check(key, schema, first)
        self._addresses = holds_addresses(schemas[0], self._chosen)
        self._labels = self._labels_of(schemas)
        self.class_names = list(self._labels.names) if self._labels else []
        notes = left_out(schemas[0], columns_to_read(schemas[0], self._chosen, first))
        self._splits = files_are_splits(self._keys, declared.split_files, self._store.uri)
        if self._splits:
            held_out = [key for key in self._keys if file_split(key) == HELD_OUT]
            notes += (
                f"files as splits: {len(held_out):,} of {len(files):,} held out (split_files=False reads all alike)",
            )
        self.findings = Findings(passed_over, notes)
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
        places = Places(self._store, key.rpartition("/")[0], self._endpoint_url, self._declared.allow)
        all_captions = self._declared.columns.captions == "all"
        table = TableRows(self._chosen, places, self._labels, self._store.uri_of(key), all_captions)
        split = (file_split(key) or TRAIN) if self._splits else None
        work = partial(_row, table, self._names[task.part], split)
        numbered = self._cells(task)
        return ahead(work, numbered) if self._addresses else map(work, numbered)

    def _cells(self, task: Task) -> Iterator[tuple[int, Cells]]:
        key, groups = self._keys[task.part], self._groups[task.part]
        ends = list(accumulate(groups))
        wanted = [n for n, end in enumerate(ends) if end > task.start and end - groups[n] < task.stop]
        at = ends[wanted[0]] - groups[wanted[0]]
        with self._reading(key, lambda: f" from row {at} on") as file:
            names = [name.strip() for name in file.schema_arrow.names]
            schema = pa.schema([field.with_name(name) for field, name in zip(file.schema_arrow, names, strict=True)])
            added = {name: value for name, value in self._hive[task.part].items() if name not in names}
            read = set(columns_to_read(_with(schema, added), self._chosen, self._store.uri_of(key)))
            columns = [field.name for field, name in zip(file.schema_arrow, names, strict=True) if name in read]
            batches = file.iter_batches(256 if self._addresses else 16, wanted, columns, use_threads=False)
            for batch in batches:
                first, last = max(at, task.start), min(at + len(batch), task.stop)
                if first < last:
                    part = batch[first - at : last - at]
                    part = part.rename_columns([name.strip() for name in part.schema.names])
                    for number, cells in zip(range(first, last), cells_of(part), strict=True):
                        yield number, cells | added
                at += len(batch)
                if at >= task.stop:
                    return

    def _footer(self, part: int) -> tuple[pa.Schema, list[int]]:
        """The columns, with those that the file's folders give, and the rows of each group."""
        key = self._keys[part]
        with self._reading(key) as file:
            footer, schema = file.metadata, file.schema_arrow
            names = [name.strip() for name in schema.names]
            require_different(names, self._store.uri_of(key))
            schema = pa.schema([f.with_name(n) for f, n in zip(schema, names, strict=True)], schema.metadata)
            return _with(schema, self._hive[part]), [footer.row_group(n).num_rows for n in range(footer.num_row_groups)]

    def _check(self, key: str, schema: pa.Schema, first: str) -> None:
        uri = self._store.uri_of(key)
        lacks = sorted(self._chosen.names - set(schema.names))
        if lacks:
            raise DataError(
                f"{uri}: expected a column {lacks[0]!r}, as {first} has it, got columns {', '.join(schema.names)}"
            )
        columns_to_read(schema, self._chosen, uri)

    def _labels_of(self, schemas: list[pa.Schema]) -> Labels | None:
        """How labels become numbers. Raises DataError naming both files where theirs mean different things."""
        name, declared = self._chosen.label, self._declared.columns.class_names
        if name is None or declared:
            return None if name is None else Labels(declared)
        kinds = [value_type(schema.field(name).type) for schema in schemas]
        texts = [part for part, kind in enumerate(kinds) if is_text(kind)]
        others = [part for part, kind in enumerate(kinds) if not is_text(kind)]
        if not texts:
            return self._same_names(schemas, name)
        labels = labels_of_texts(self._distinct_labels(texts))
        if labels.names and others:
            one, other = self._store.uri_of(self._keys[texts[0]]), self._store.uri_of(self._keys[others[0]])
            raise DataError(
                f"{other}: expected labels of one type in {name!r}, got {kinds[others[0]]}, while {one} has "
                f"{kinds[texts[0]]}: columns.class_names takes both"
            )
        return labels

    def _same_names(self, schemas: list[pa.Schema], name: str) -> Labels:
        names = hugging_face_names(schemas[0], name)
        for key, schema in zip(self._keys, schemas, strict=True):
            found = hugging_face_names(schema, name)
            if found != names:
                raise DataError(
                    f"{self._store.uri_of(key)}: expected the class names of {self._store.uri_of(self._keys[0])}, "
                    f"{len(names)} from {names[:1]}, got {len(found)} from {found[:1]}: columns.class_names says which"
                )
        return Labels(names)

    def _distinct_labels(self, parts: list[int]) -> set[str]:
        found: set[str] = set()
        for names in ahead(self._distinct_labels_of, parts):
            found |= names
        return found

    def _distinct_labels_of(self, part: int) -> set[str]:
        found: set[str] = set()
        with self._reading(self._keys[part]) as file:
            column = next((name for name in file.schema_arrow.names if name.strip() == self._chosen.label), None)
            if column is None:
                value = self._hive[part][self._chosen.label or ""]
                return set() if value is None else {value}
            for batch in file.iter_batches(65_536, columns=[column], use_threads=False):
                found |= distinct(batch.column(0))
        return found

    @contextmanager
    def _reading(self, key: str, place: Callable[[], str] = str) -> Iterator[pa.parquet.ParquetFile]:
        """Raises DataError for a file that is no parquet, or is damaged; `place` says how far it was read."""
        try:
            with pa.parquet.ParquetFile(
                RangeFile(self._store, key), pre_buffer=False, buffer_size=_BUFFER_BYTES
            ) as file:
                yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            said = " ".join(str(error).split())
            raise DataError(f"{self._store.uri_of(key)}: expected a parquet file: {said}{place()}") from error


def _row(table: TableRows, name: str, split: str | None, numbered: tuple[int, Cells]) -> Row | Rejected:
    number, cells = numbered
    row = table.row([number], f"{name}-{number:06d}", [cells])
    return replace(row, split=split) if split is not None and isinstance(row, Row) else row


def _with(schema: pa.Schema, added: Mapping[str, str | None]) -> pa.Schema:
    """With columns of text that it lacks."""
    for name in added:
        if name not in schema.names:
            schema = schema.append(pa.field(name, pa.string()))
    return schema


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
