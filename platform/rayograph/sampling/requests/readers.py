"""The rows of a request, as they are written: a part at a time, in their order, from parquet, JSON lines, CSV, shards.

Nothing here knows what a row means (validation.py does); a file that cannot be read is refused here.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from rayograph.conditioning.protocol import Conditioner
from rayograph.conditioning.values import once
from rayograph.config import Request
from rayograph.config.declaration import is_unicode
from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.sampling.requests.column_files import ColumnFiles
from rayograph.sampling.requests.typed_columns import TypedColumns, known_columns
from rayograph.shards.committed import Shards
from rayograph.storage import Access, ObjectStore, open_store
from rayograph.storage.range_file import RangeFile

PAGE_ROWS = 65_536
"""Rows that are held at once."""

MAX_LINE_BYTES = 16 << 20
"""Of CSV and JSON lines: a file without line ends is no reason to hold all of it."""

FILE_ROWS, FILE_BYTES, BYTES_ROWS = 1024, 16 << 20, 32
"""Where rows hold files, so many rows are read at once, of lines of so many bytes, or whose columns are bytes."""

_BUFFER_BYTES = 4 << 20
_ENDS_BYTES = 1 << 20
_SHARD_ROWS = 1024  # a sample's image comes along


def read_rows(request: Request, conditioner: Conditioner, endpoint_url: Access) -> Iterator[pa.Table]:
    """Tables of up to `PAGE_ROWS` rows. Raises DataError naming the file and, where it can, the row.

    Where the conditioner reads files, their bytes are there, and their names in columns after `FILE`.
    """
    files = ColumnFiles.of(request, conditioner, endpoint_url)
    if files is None:
        return _tables(request, conditioner, endpoint_url, PAGE_ROWS, None)
    few = _tables(request, conditioner, endpoint_url, FILE_ROWS, FILE_BYTES)
    return files.filled(few, PAGE_ROWS)


def _tables(
    request: Request, conditioner: Conditioner, endpoint_url: Access, rows: int, most_bytes: int | None
) -> Iterator[pa.Table]:
    """Tables of so many rows, or fewer where their lines are of so many bytes."""
    ending = request.uri.rpartition(".")[2].lower()
    typed = TypedColumns(conditioner, known_columns(conditioner))
    if ending not in ("parquet", "jsonl", "csv"):
        artifact = Artifact(open_store(request.uri, endpoint_url), "")
        files = {name for name, held in conditioner.columns.items() if pa.types.is_binary(held)}
        names = {*typed.known, *request.keep} - files  # a record has their digests
        return _shards(artifact, names, typed, endpoint_url, min(rows, _SHARD_ROWS))
    store, key = _file(request.uri, endpoint_url)
    match ending:
        case "parquet":
            batches = _parquet(store, key, rows)
            return _pages(batches, rows) if most_bytes is None else (pa.Table.from_batches([part]) for part in batches)
        case "csv":
            return _csv(store, key, typed, rows)
    return _json_lines(store, key, typed, rows, most_bytes)


def fingerprint(request: Request, endpoint_url: Access) -> dict[str, Any]:
    """What tells a request from a changed one: size and digest of its ends, or a shards artifact's own digest."""
    if request.uri.rpartition(".")[2].lower() not in ("parquet", "jsonl", "csv"):
        return {"digest": Artifact(open_store(request.uri, endpoint_url), "").committed().digest}
    store, key = _file(request.uri, endpoint_url)
    size = store.size(key)
    ends = [(0, min(size, _ENDS_BYTES)), (max(0, size - _ENDS_BYTES), min(size, _ENDS_BYTES))]
    return {"bytes": size, "ends": sha256(b"".join(store.read_ranges(key, ends)))}


def _file(uri: str, endpoint_url: Access) -> tuple[ObjectStore, str]:
    folder, _, key = uri.rpartition("/")
    store = open_store(folder or ("/" if uri.startswith("/") else "."), endpoint_url)
    if not store.exists(key):
        raise DataError(f"{uri}: expected a request (.parquet, .jsonl, .csv), found none")
    return store, key


def _pages(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Row groups and blocks come in any size; together they are pages of one."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        while sum(len(part) for part in waiting) >= rows:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, rows).combine_chunks()
            waiting = table.slice(rows).to_batches()
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _parquet(store: ObjectStore, key: str, rows: int) -> Iterator[pa.RecordBatch]:
    try:
        with pa.parquet.ParquetFile(RangeFile(store, key), pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
            if rows < PAGE_ROWS and any(pa.types.is_binary(kind) for kind in file.schema_arrow.types):
                rows = BYTES_ROWS
            yield from file.iter_batches(rows, use_threads=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{store.uri_of(key)}: expected a parquet file: {' '.join(str(error).split())}") from error


def _lines(store: ObjectStore, key: str) -> Iterator[bytes]:
    number = 0
    with io.BufferedReader(RangeFile(store, key), _BUFFER_BYTES) as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise DataError(f"{store.uri_of(key)} line {number}: expected at most {MAX_LINE_BYTES:,} bytes")
            yield line


def _csv(store: ObjectStore, key: str, typed: TypedColumns, rows: int) -> Iterator[pa.Table]:
    """By Python's own reader: Arrow's reads ahead in a thread, which may hold up the interpreter's end for ever."""
    where = store.uri_of(key)
    lines = _decoded(_lines(store, key), where)
    reader = (row for row in _parsed(csv.reader(lines, strict=True), where) if row)
    names = [name.strip() for name in next(reader, [])]  # blanks around a header are nothing
    number = 0
    while page := list(islice(reader, rows)):
        for at, row in enumerate(page, number):
            if len(row) != len(names):
                raise DataError(f"{where} row {at}: expected {len(names)} values, got {len(row)}")
        values = zip(*page, strict=True)
        columns = [typed.of_texts(name, column, where, number) for name, column in zip(names, values, strict=True)]
        yield pa.Table.from_arrays(columns, names=names)
        number += len(page)


def _decoded(lines: Iterable[bytes], where: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{where} line {number}: expected UTF-8: {error}") from error


def _parsed(reader: Any, where: str) -> Iterator[list[str]]:
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{where} line {reader.line_num}: expected CSV: {error}") from error
        if row is None:
            return
        yield row


def _json_lines(
    store: ObjectStore, key: str, typed: TypedColumns, rows: int, most_bytes: int | None
) -> Iterator[pa.Table]:
    where, seen = store.uri_of(key), dict[str, None]()
    number = 0
    lines = (line for line in _lines(store, key) if line.strip())
    while page := _some(lines, rows, most_bytes):
        said = [_object(line, f"{where} row {at}") for at, line in enumerate(page, number)]
        yield _table(said, where, number, seen, typed)
        number += len(said)


def _some(lines: Iterator[bytes], rows: int, most_bytes: int | None) -> list[bytes]:
    """The next lines, of which only the last may be more than so many bytes together."""
    if most_bytes is None:
        return list(islice(lines, rows))
    found: list[bytes] = []
    left = most_bytes
    while len(found) < rows and left > 0 and (line := next(lines, None)) is not None:
        found.append(line)
        left -= len(line)
    return found


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=partial(once, where=where))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(row).__name__}")
    return row


def _table(rows: list[dict[str, Any]], where: str, first: int, seen: dict[str, None], typed: TypedColumns) -> pa.Table:
    """Columns that were `seen` in earlier parts and are not in this one are empty here."""
    for at, row in enumerate(rows, first):
        for name in row.keys() - seen.keys():
            if not is_unicode(name):
                raise DataError(f"{where} row {at}: column {name!r}: expected a name in UTF-8")
        seen |= dict.fromkeys(row)
    columns = {name: typed.of_values(name, [row.get(name) for row in rows], where, first) for name in seen}
    return pa.table(columns) if columns else pa.Table.from_pylist([{"count": None}] * len(rows))


def _shards(
    artifact: Artifact, names: set[str], typed: TypedColumns, access: Access, most_rows: int
) -> Iterator[pa.Table]:
    """A row a sample: what its json says in columns of these names, its caption (txt), and what it is conditioned on.

    A generated sample's seed is left out: it counts with its number there, which here would be another.
    """
    seen = dict[str, None]()
    manifest = artifact.committed()
    if manifest.kind == "sample":
        names = names - {"seed"}
    shards = Shards.of(artifact, manifest, manifest.shards, access).as_written()
    for name in shards.names:
        index = shards.index(name)
        for start in range(0, len(index), most_rows):
            samples = shards.rows(name, index, range(start, min(start + most_rows, len(index)))).samples()
            rows: list[dict[str, Any]] = []
            for sample in samples:
                row = {}
                if "txt" in sample.members:
                    row["prompt"] = sample.members["txt"].decode(errors="replace")
                if "json" in sample.members:
                    said = _object(sample.members["json"], f"{artifact.uri}/{name} {sample.key}")
                    row |= {column: value for column, value in said.items() if column in names}
                rows.append(row | typed.conditioner.requested_by(sample, row, manifest.facts))
            yield _table(rows, f"{artifact.uri}/{name}", start, seen, typed)
