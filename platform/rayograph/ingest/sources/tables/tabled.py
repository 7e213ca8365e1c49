"""Folders of image files that a table lists: CSV, JSON lines or parquet.

Several rows of one image are one sample with several captions.

Shapes: n rows of the table.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from rayograph.config import Columns, ImageFolder
from rayograph.errors import DataError
from rayograph.ingest.sources.ahead import ahead
from rayograph.ingest.sources.file_listing import Listing
from rayograph.ingest.sources.labels import Labels, class_order
from rayograph.ingest.sources.naming import KNOWN, Chosen, choose, require_different
from rayograph.ingest.sources.source import Findings, Rejected, Row, Task, rejected
from rayograph.ingest.sources.splits import class_folders, held_out_folders
from rayograph.ingest.sources.tables.csv_tables import read_csv
from rayograph.ingest.sources.tables.json_lines import JsonLines
from rayograph.ingest.sources.tables.table_rows import (
    Cells,
    TableRows,
    cells_of,
    columns_to_read,
    holds_addresses,
    labels_of,
    left_out,
)
from rayograph.ingest.sources.tables.texts import Faults, distinct, readable, typed
from rayograph.ingest.sources.tables.unnamed import unnamed_files
from rayograph.storage import Access, ObjectStore, open_store
from rayograph.storage.places import Places
from rayograph.storage.range_file import RangeFile

_CHUNK = 8192
_FOLDER = "\0folder"  # no column is called so

FILE_NAME = "file_name"
"""The column that Hugging Face's imagefolder has."""


class TabledFolder:
    """Images that a table names, with what it says of them."""

    unit = "images"

    def __init__(self, declared: ImageFolder, endpoint_url: Access) -> None:
        store, columns, name = open_store(declared.uri, endpoint_url), declared.columns, declared.metadata or ""
        where = store.uri_of(name)
        self._table: _Columns | JsonLines
        if name.lower().endswith(".jsonl"):
            self._table = JsonLines(store, name, _candidates(columns, "image", "key"), _candidates(columns, "label"))
        else:
            self._table = _Columns.read(store, name)
        if not len(self._table):
            raise DataError(f"{where}: expected a row an image, found none")
        chosen = choose(columns, self._table.names, where, first_image=FILE_NAME)
        if declared.class_per_folder:
            chosen = replace(chosen, label=None)
        labels, notes = self._planned(columns, chosen, where)
        paths = self._table.text(chosen.image)
        given = self._table.text(chosen.key) if chosen.key else None
        self._faults, self._groups = self._table.faults, None
        if chosen.caption is not None:
            self._groups = _groups(paths, given)
        if self._groups is not None:
            first = pa.array(self._groups[0][self._groups[1][:-1]], pa.int64())
            notes = (*notes, f"{len(paths) - len(first):,} rows give a further caption to an image of an earlier row")
            paths, given = paths.take(first), given.take(first) if given is not None else None
        if isinstance(self._table, JsonLines):
            self._table.release()
        places = Places(store, name.rpartition("/")[0], endpoint_url, declared.allow)
        said = list(notes)
        held_out, depth = held_out_folders(paths, declared, places.root, said)
        self._folders = class_folders(paths, depth, places.root) if declared.class_per_folder else None
        if self._folders is not None:
            labels, chosen = Labels(class_order(self._folders.dictionary.to_pylist())), replace(chosen, label=_FOLDER)
        self._listing = Listing.of(paths, given, partial(self._place, where), held_out)
        self.fingerprint = self._listing.fingerprint
        self.class_names = list(labels.names) if labels else []
        unnamed = unnamed_files(places, name, paths)
        self.findings = Findings(unnamed.passed_over, (*said, *unnamed.notes))
        self._rows = TableRows(chosen, places, labels, where, columns.captions == "all")

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        return self._listing.tasks(rows, held_out_fraction)

    def rows(self, task: Task) -> Iterator[Row | Rejected]:
        samples = self._listing.rows(task)
        rows = [self._rows_of(sample) for sample in samples]
        cells = self._table.cells([row for group in rows for row in group])
        grouped = ((sample, group, [next(cells) for _ in group]) for sample, group in zip(samples, rows, strict=True))
        return ahead(partial(self._row, self._listing.split(task)), grouped)

    def _planned(self, columns: Columns, chosen: Chosen, where: str) -> tuple[Labels | None, tuple[str, ...]]:
        """What labels mean, and which columns are left out."""
        if isinstance(self._table, JsonLines):
            if chosen.label is None or columns.class_names:
                return (None if chosen.label is None else Labels(columns.class_names)), ()
            return self._table.labels(chosen.label), ()
        return self._table.plan(columns, chosen, where)

    def _rows_of(self, sample: int) -> list[int]:
        """The rows of a sample, in the table's order."""
        if self._groups is None:
            return [sample]
        order, ends = self._groups
        rows: list[int] = order[ends[sample] : ends[sample + 1]].tolist()
        return rows

    def _row(self, split: str | None, numbered: tuple[int, list[int], list[Cells]]) -> Row | Rejected:
        sample, rows, cells = numbered
        key, name = self._listing.keys[sample], self._rows.chosen.image
        fault = next((row for row in rows if row in self._faults), None)
        if fault is not None:
            where = f"{self._rows.where} row {fault}"
            return rejected(key, where, DataError(f"{where}: {self._faults[fault]}"))
        if isinstance(self._table, _Columns):  # the listing has the images' names
            path = self._listing.keys.paths[sample].as_py()
            cells = [row | {name: path} for row in cells]
        if self._folders is not None:
            cells = [row | {_FOLDER: self._folders[sample].as_py()} for row in cells]
        row = self._rows.row(rows, key, cells)
        return replace(row, split=split) if isinstance(row, Row) else row

    def _place(self, where: str, sample: int) -> str:
        return f"{where} row {self._rows_of(sample)[0]}"


class _Columns:
    """A table of Arrow columns, each of one type."""

    def __init__(self, table: pa.Table, faults: Faults, is_text: bool) -> None:
        """`is_text` where nothing is known of the cells' types."""
        self._table, self.faults, self._is_text, self._length = table, faults, is_text, len(table)

    @classmethod
    def read(cls, store: ObjectStore, name: str) -> "_Columns":
        """Raises DataError for a table that cannot be read."""
        where = store.uri_of(name)
        if name.lower().endswith(".csv"):
            return cls(*read_csv(store, name), is_text=True)
        try:
            with pa.parquet.ParquetFile(RangeFile(store, name), pre_buffer=False) as parquet:
                names = [name.strip() for name in parquet.schema_arrow.names]
                require_different(names, where)
                # pq.read_table leaves threads that may abort the process's end
                return cls(parquet.read(use_threads=False).rename_columns(names), Faults(where), is_text=False)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{where}: expected a table: {' '.join(str(error).split())}") from error

    def __len__(self) -> int:
        return self._length

    @property
    def names(self) -> list[str]:
        return list(self._table.schema.names)

    def plan(self, columns: Columns, chosen: Chosen, where: str) -> tuple[Labels | None, tuple[str, ...]]:
        """What labels mean, and a note of what is left out. Raises DataError for images that are not in files."""
        schema = self._table.schema
        if not holds_addresses(schema, chosen):
            kind = schema.field(chosen.image).type
            raise DataError(f"{where}: expected files' names in column {chosen.image!r}, got {kind}")
        names = columns_to_read(schema, chosen, where)
        notes = left_out(schema, names)
        self._table = self._table.select(names)
        if self._is_text:
            plain = [name for name in names if name not in chosen.names]
            self._table = pa.table([typed(self._table[n]) if n in plain else self._table[n] for n in names], names)
        return labels_of(columns, schema, chosen, lambda: distinct(self._table[chosen.label])), notes

    def text(self, name: str) -> pa.Array:
        """A column that rows are looked up by, (n,) large_string: it is given away, for the listing to hold."""
        column = self._table[name]
        self._table = self._table.drop_columns([name])
        try:
            return readable(column, name, self.faults)
        except pa.ArrowException as error:
            kind = column.type
            raise DataError(f"{self.faults.where}: expected text in column {name!r}, got {kind}") from error

    def cells(self, numbers: list[int]) -> Iterator[Cells]:
        """The rows' cells but for those that were looked up."""
        if not self._table.num_columns:
            return iter([{} for _ in numbers])
        rows = pa.array(numbers, pa.int64())
        return cells_of(pa.table({name: self._table[name].take(rows) for name in self._table.column_names}))


def _candidates(columns: Columns, *parts: str) -> list[str]:
    names = {FILE_NAME} if "image" in parts else set()
    for part in parts:
        declared = getattr(columns, part)
        names |= set(KNOWN[part]) if declared is None else {declared}
    return sorted(names)


def _groups(paths: pa.Array, given: pa.Array | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows in an order in which those of one image are neighbours (n,), and where each image's begin (images + 1,).

    None where no image stands twice. With keys of their own, only rows of one key are of one image.
    """
    if not _has_twins(paths):
        return None
    names = paths
    if given is not None:
        names = pa.compute.binary_join_element_wise(
            given, paths, pa.scalar("\0", pa.large_string()), null_handling="replace"
        )
        names = pa.compute.if_else(paths.is_null(), pa.scalar(None, pa.large_string()), names)
    codes = names.dictionary_encode()
    numbers = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    missing = numbers < 0
    numbers[missing] = len(codes.dictionary) + np.arange(missing.sum())  # each an image of its own
    order = np.argsort(numbers, kind="stable")
    begins = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    if len(begins) == len(order):
        return None
    return order, np.append(begins, len(order))


def _has_twins(paths: pa.Array) -> bool:
    """Whether some path may stand twice: by its hash alone, which holds no copy of them."""
    hashes = np.empty(len(paths), np.int64)
    for start in range(0, len(paths), _CHUNK):
        names = paths[start : start + _CHUNK].to_pylist()
        found = [hash(name) if name is not None else start + n for n, name in enumerate(names)]
        hashes[start : start + len(names)] = found
    hashes.sort()
    return bool((np.diff(hashes) == 0).any())
