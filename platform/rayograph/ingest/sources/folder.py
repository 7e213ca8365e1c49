"""Folders of image files: all that are there, or those that a table beside them lists."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from rayograph.config import Columns, ImageFolder
from rayograph.errors import DataError
from rayograph.ingest.sources.base import Rejected, Row, Task
from rayograph.ingest.sources.listing import Listing
from rayograph.ingest.sources.naming import KNOWN, choose
from rayograph.ingest.sources.places import Places, ahead
from rayograph.ingest.sources.tables import Cells, TableRows, cells_of, columns_to_read, holds_addresses, labels_of
from rayograph.shards.images import IMAGE_EXTENSIONS
from rayograph.storage import Access, ObjectStore, open_store
from rayograph.storage.range_file import RangeFile

_FILE_NAME, _FOLDER = "file_name", "class folder"
_CHUNK = 65_536
_BLOCK_BYTES = 16 << 20  # no line of a table may be longer


class Folder:
    """Rows of a table, whose images are files."""

    unit = "images"

    def __init__(self, declared: ImageFolder, endpoint_url: Access) -> None:
        store, columns, folder = open_store(declared.uri, endpoint_url), declared.columns, ""
        if declared.metadata is None:
            table, where = _listed(store, declared.uri), store.uri
        else:
            table, where = _read_table(store, declared.metadata, columns), store.uri_of(declared.metadata)
            folder = declared.metadata.rpartition("/")[0]
        chosen = choose(columns, table.schema.names, where, first_image=_FILE_NAME)
        if not holds_addresses(table.schema, chosen):
            raise DataError(
                f"{where}: expected files' names in column {chosen.image!r}, got {table[chosen.image].type}"
            )
        table = table.select(columns_to_read(table.schema, chosen, where))
        paths = table[chosen.image].cast(pa.large_string()).combine_chunks()
        if declared.class_per_folder:
            chosen = replace(chosen, label=_FOLDER)
            table = table.append_column(_FOLDER, _folders(paths, store))
        labels = labels_of(columns, table.schema, chosen, partial(_distinct, table, chosen.label))
        places = Places(store.uri_of(folder) if folder else store.uri, endpoint_url)
        self._rows = TableRows(chosen, places, labels, where)
        self.class_names = list(labels.names) if labels else []
        given = table[chosen.key].combine_chunks() if chosen.key else None
        self._listing = Listing.of(paths, given, partial(self._place, paths, declared.metadata is not None))
        self._table = table.drop_columns([name for name in (chosen.image, chosen.key) if name])  # the listing has them
        self.fingerprint = self._listing.fingerprint

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        return self._listing.tasks(rows, held_out_fraction)

    def rows(self, task: Task) -> Iterator[Row | Rejected]:
        numbers, chosen = self._listing.rows(task), self._rows.chosen
        chunk = pa.array(numbers, pa.int64())
        columns = {name: self._table[name].take(chunk) for name in self._table.column_names}
        part = pa.table(columns | {chosen.image: self._listing.keys.paths.take(chunk)})
        return ahead(self._row, zip(numbers, cells_of(part, chosen), strict=True))

    def _row(self, numbered: tuple[int, Cells]) -> Row | Rejected:
        number, cells = numbered
        return self._rows.row(number, self._listing.keys[number], cells)

    def _place(self, paths: pa.Array, by_row: bool, row: int) -> str:
        return f"{self._rows.where} row {row}" if by_row else self._rows.places.uri(paths[row].as_py())


def _listed(store: ObjectStore, uri: str) -> pa.Table:
    """The image files below a store, as a table of one column. Raises DataError where there is none."""
    chunks: list[pa.Array] = []
    names: list[str] = []
    for info in store.list():
        if info.key.lower().endswith(IMAGE_EXTENSIONS):
            names.append(info.key)
        if len(names) == _CHUNK:
            chunks.append(pa.array(names, pa.large_string()))
            names = []
    chunks.append(pa.array(names, pa.large_string()))
    table = pa.table({_FILE_NAME: pa.chunked_array(chunks)})
    if not len(table):
        raise DataError(f"{uri}: expected image files ({', '.join(IMAGE_EXTENSIONS)}), found none")
    return table


def _read_table(store: ObjectStore, name: str, columns: Columns) -> pa.Table:
    """Raises DataError for a table that cannot be read, or has no row."""
    uri, file = store.uri_of(name), RangeFile(store, name)
    texts = {
        known for part in ("key", "image", "caption") for known in (getattr(columns, part), *KNOWN[part], _FILE_NAME)
    }
    try:
        if name.lower().endswith(".csv"):
            table = pa.csv.read_csv(
                file,
                read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
                parse_options=pa.csv.ParseOptions(newlines_in_values=True),
                # A name of digits alone keeps its zeros; whether a caption is UTF-8 is asked row by row.
                convert_options=pa.csv.ConvertOptions(
                    check_utf8=False, column_types={text: pa.string() for text in texts if text}
                ),
            )
        elif name.lower().endswith(".jsonl"):
            table = pa.json.read_json(file, read_options=pa.json.ReadOptions(block_size=_BLOCK_BYTES))
        else:
            with pa.parquet.ParquetFile(file, pre_buffer=False) as parquet:
                table = parquet.read(use_threads=False)  # pq.read_table leaves threads that may abort the process's end
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{uri}: expected a table: {' '.join(str(error).split())}") from error
    if not len(table):
        raise DataError(f"{uri}: expected a row an image, found none")
    return table


def _folders(paths: pa.Array, store: ObjectStore) -> pa.Array:
    """The first folder of each path. Raises DataError naming a file that lies in none."""
    loose = paths.filter(pa.compute.invert(pa.compute.match_substring(paths, "/")))
    if len(loose):
        raise DataError(
            f"{store.uri_of(loose[0].as_py())}: expected a folder a class (class_per_folder), got a loose file"
        )
    first = pa.compute.list_element(pa.compute.split_pattern(paths, "/", max_splits=1), 0)
    return first.cast(pa.string()).dictionary_encode()


def _distinct(table: pa.Table, name: str | None) -> Iterable[str | None]:
    found: Iterable[str | None] = pa.compute.unique(table[name]).to_pylist()
    return found
