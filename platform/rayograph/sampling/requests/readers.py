"""The rows of a request, as they are written: a part at a time, in their order, from parquet, JSON lines, CSV, shards.

Nothing here knows what a row means (validation.py does); a file that cannot be read is refused here.
"""

import csv
import io
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from rayograph.conditioning.member_columns import shown
from rayograph.conditioning.protocol import Conditioner
from rayograph.conditioning.values import is_exact, once, real_number, whole_number
from rayograph.config import Request
from rayograph.config.declaration import is_unicode
from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.sampling.requests.options import options
from rayograph.shards.committed import Shards
from rayograph.storage import Access, ObjectStore, open_store
from rayograph.storage.range_file import RangeFile

PAGE_ROWS = 65_536
"""Rows that are held at once."""

PLACES = {"count": pa.int64(), "seed": pa.uint64(), "prompt": pa.string(), "width": pa.int64(), "height": pa.int64()}
"""Columns that mean something whatever the model: what they hold."""

SEEDS = "a whole number from 0 to 2⁶⁴ - 1"

MAX_LINE_BYTES = 16 << 20
"""Of CSV and JSON lines: a file without line ends is no reason to hold all of it."""

_BUFFER_BYTES = 4 << 20
_ENDS_BYTES = 1 << 20
_SHARD_ROWS = 1024  # a sample's image comes along


def known_columns(conditioner: Conditioner) -> dict[str, pa.DataType]:
    """The columns that mean something, and what they hold; CSV files have no types of their own."""
    return PLACES | {option.name: option.kind for option in options()} | dict(conditioner.request_columns)


def read_rows(request: Request, conditioner: Conditioner, endpoint_url: Access) -> Iterator[pa.Table]:
    """Tables of up to `PAGE_ROWS` rows. Raises DataError naming the file and, where it can, the row."""
    ending = request.uri.rpartition(".")[2].lower()
    typed = _Typed(conditioner, known_columns(conditioner))
    if ending not in ("parquet", "jsonl", "csv"):
        artifact = Artifact(open_store(request.uri, endpoint_url), "")
        return _shards(artifact, {*typed.known, *request.keep}, typed, endpoint_url)
    store, key = _file(request.uri, endpoint_url)
    match ending:
        case "parquet":
            return _pages(_parquet(store, key))
        case "csv":
            return _csv(store, key, typed)
    return _json_lines(store, key, typed)


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


def _pages(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Row groups and blocks come in any size; together they are pages of one."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        while sum(len(part) for part in waiting) >= PAGE_ROWS:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, PAGE_ROWS).combine_chunks()
            waiting = table.slice(PAGE_ROWS).to_batches()
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _parquet(store: ObjectStore, key: str) -> Iterator[pa.RecordBatch]:
    try:
        with pa.parquet.ParquetFile(RangeFile(store, key), pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
            yield from file.iter_batches(PAGE_ROWS, use_threads=False)
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


def _csv(store: ObjectStore, key: str, typed: "_Typed") -> Iterator[pa.Table]:
    """By Python's own reader: Arrow's reads ahead in a thread, which may hold up the interpreter's end for ever."""
    where = store.uri_of(key)
    lines = _decoded(_lines(store, key), where)
    reader = (row for row in _parsed(csv.reader(lines, strict=True), where) if row)
    names = [name.strip() for name in next(reader, [])]  # blanks around a header are nothing
    number = 0
    while page := list(islice(reader, PAGE_ROWS)):
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


def _json_lines(store: ObjectStore, key: str, typed: "_Typed") -> Iterator[pa.Table]:
    where, seen = store.uri_of(key), dict[str, None]()
    number = 0
    lines = (line for line in _lines(store, key) if line.strip())
    while page := list(islice(lines, PAGE_ROWS)):
        rows = [_object(line, f"{where} row {at}") for at, line in enumerate(page, number)]
        yield _table(rows, where, number, seen, typed)
        number += len(rows)


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=partial(once, where=where))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(row).__name__}")
    return row


def _table(rows: list[dict[str, Any]], where: str, first: int, seen: dict[str, None], typed: "_Typed") -> pa.Table:
    """Columns that were `seen` in earlier parts and are not in this one are empty here."""
    for at, row in enumerate(rows, first):
        for name in row.keys() - seen.keys():
            if not is_unicode(name):
                raise DataError(f"{where} row {at}: column {name!r}: expected a name in UTF-8")
        seen |= dict.fromkeys(row)
    columns = {name: typed.of_values(name, [row.get(name) for row in rows], where, first) for name in seen}
    return pa.table(columns) if columns else pa.Table.from_pylist([{"count": None}] * len(rows))


@dataclass(frozen=True)
class _Typed:
    """Columns of what files hold that have no types, or looser ones."""

    conditioner: Conditioner
    known: Mapping[str, pa.DataType]

    def of_texts(self, name: str, values: Iterable[str], where: str, first: int) -> pa.Array:
        """An empty value is none; lists are written as JSON."""
        texts = [value or None for value in values]
        kind = self.known.get(name, pa.string())
        if pa.types.is_string(kind):
            return pa.array(texts, kind)
        if pa.types.is_nested(kind):
            return _array(
                name, [_list(value, f"{where} row {at}: {name}") for at, value in enumerate(texts, first)], where, first
            )
        real = pa.types.is_floating(kind)
        numbers: list[float | None] = []
        for at, value in enumerate(texts, first):
            number = None if value is None else real_number(value) if real else whole_number(value.strip())
            if value is not None and number is None:
                what = "a number" if real else "a whole number"
                raise DataError(f"{where} row {at}: {name}: expected {what}, got {shown(value)}")
            numbers.append(number)
        return _array(name, numbers, where, first)

    def of_values(self, name: str, values: list[Any], where: str, first: int) -> pa.Array:
        """A whole number may be written as a float."""
        if name in self.conditioner.request_columns:
            values = [self._conditions(name, value, f"{where} row {at}") for at, value in enumerate(values, first)]
        elif name in self.known and pa.types.is_integer(self.known[name]):
            values = [int(value) if type(value) is float and is_exact(value) else value for value in values]
        return _array(name, values, where, first)

    def _conditions(self, name: str, value: Any, where: str) -> Any:
        try:
            return self.conditioner.request_value(name, value)
        except ValueError as error:
            raise DataError(f"{where}: {name}: expected {error}, got {shown(value)}") from None


def _list(text: str | None, where: str) -> list[Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise DataError(f"{where}: expected a list in JSON, got {shown(text)}")
    return found


def _array(name: str, values: list[Any], where: str, first: int) -> pa.Array:
    """Raises DataError for the first value that does not go with those before it."""
    seeds = name == "seed" and all(value is None or type(value) is int for value in values)
    kind = PLACES["seed"] if seeds else None  # Arrow itself takes integers to be below 2⁶³
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        at = bisect_left(range(len(values)), True, key=lambda last: not _goes(values[: last + 1], kind))
    kinds = " or ".join(sorted({type(value).__name__ for value in values[:at] if value is not None})) or "a value"
    expected = kinds if type(values[at]).__name__ != kinds else f"{kinds} of at most 64 bits"
    if seeds:
        expected = SEEDS
    elif isinstance(values[at], str) and not is_unicode(values[at]):
        expected = "text in UTF-8"
    raise DataError(f"{where} row {first + at}: {name}: expected {expected}, got {shown(values[at])}")


def _goes(values: list[Any], kind: pa.DataType | None) -> bool:
    try:
        pa.array(values, kind)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return False
    return True


def _shards(artifact: Artifact, names: set[str], typed: _Typed, access: Access) -> Iterator[pa.Table]:
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
        for start in range(0, len(index), _SHARD_ROWS):
            samples = shards.rows(name, index, range(start, min(start + _SHARD_ROWS, len(index)))).samples()
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
