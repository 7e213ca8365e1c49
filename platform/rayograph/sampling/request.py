"""The rows of a request, as they are written: a part at a time, in their order, from parquet, JSON lines, CSV, shards.

Nothing here knows what a row means (checks.py does); a file that cannot be read is refused here.
"""

import io
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from rayograph.config import Request
from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.shards.store import read_index, read_samples
from rayograph.storage import ObjectStore, open_store
from rayograph.storage.range_file import RangeFile

PAGE_ROWS = 65_536
"""Rows that are held at once."""

KNOWN = {
    "count": pa.int64(),
    "seed": pa.uint64(),
    "class": pa.string(),
    "prompt": pa.string(),
    "width": pa.int64(),
    "height": pa.int64(),
    "num_inference_steps": pa.int64(),
    "guidance_scale": pa.float64(),
    "scheduler": pa.string(),
}
"""The columns that mean something, and what CSV files, which have no types, hold there."""

_BUFFER_BYTES = 4 << 20
_ENDS_BYTES = 1 << 20
_SHARD_ROWS = 1024  # a sample's image comes along


def read_rows(request: Request, endpoint_url: str | None) -> Iterator[pa.Table]:
    """Tables of up to `PAGE_ROWS` rows. Raises DataError naming the file and, where it can, the row."""
    ending = request.uri.rpartition(".")[2].lower()
    if ending not in ("parquet", "jsonl", "csv"):
        return _shards(Artifact(open_store(request.uri, endpoint_url), ""))
    store, key = _file(request.uri, endpoint_url)
    match ending:
        case "parquet":
            return _pages(_parquet(store, key))
        case "csv":
            return _pages(_csv(store, key))
    return _json_lines(store, key)


def fingerprint(request: Request, endpoint_url: str | None) -> dict[str, Any]:
    """What tells a request from a changed one: size and digest of its ends, or a shards artifact's own digest."""
    if request.uri.rpartition(".")[2].lower() not in ("parquet", "jsonl", "csv"):
        return {"digest": Artifact(open_store(request.uri, endpoint_url), "").committed().digest}
    store, key = _file(request.uri, endpoint_url)
    size = store.size(key)
    ends = [(0, min(size, _ENDS_BYTES)), (max(0, size - _ENDS_BYTES), min(size, _ENDS_BYTES))]
    return {"bytes": size, "ends": sha256(b"".join(store.read_ranges(key, ends)))}


def _file(uri: str, endpoint_url: str | None) -> tuple[ObjectStore, str]:
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


def _csv(store: ObjectStore, key: str) -> Iterator[pa.RecordBatch]:
    convert = pa.csv.ConvertOptions(column_types=KNOWN, strings_can_be_null=True, quoted_strings_can_be_null=False)
    try:
        with pa.csv.open_csv(
            RangeFile(store, key),
            read_options=pa.csv.ReadOptions(block_size=_BUFFER_BYTES, use_threads=False),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=convert,
        ) as reader:
            yield from reader
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{store.uri_of(key)}: expected CSV: {' '.join(str(error).split())}") from error


def _json_lines(store: ObjectStore, key: str) -> Iterator[pa.Table]:
    where = store.uri_of(key)
    with io.BufferedReader(RangeFile(store, key), _BUFFER_BYTES) as file:
        number = 0
        lines = (line for line in file if line.strip())
        while page := list(islice(lines, PAGE_ROWS)):
            rows = [_object(line, f"{where} row {number + at}") for at, line in enumerate(page)]
            yield _table(rows, where, number)
            number += len(rows)


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(row).__name__}")
    return row


def _table(rows: list[dict[str, Any]], where: str, first: int) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if name == "class":  # numbers and names may stand in one column
            values = [str(value) if type(value) is int else value for value in values]
        large = any(type(value) is int and value >= 2**63 for value in values)
        try:
            columns[name] = pa.array(values, pa.uint64() if large else None)
        except (pa.ArrowException, OverflowError):
            kinds = " and ".join(sorted({type(value).__name__ for value in values}))
            at = f"rows {first} to {first + len(rows) - 1}"
            raise DataError(f"{where} {at}: {name}: expected values of one type, got {kinds}") from None
    return pa.table(columns) if columns else pa.Table.from_pylist([{"count": None}] * len(rows))


def _shards(artifact: Artifact) -> Iterator[pa.Table]:
    """A row a sample: its json's fields, else its class (cls) and caption (txt)."""
    for shard in artifact.committed().shards:
        index = read_index(artifact, shard.path)
        for start in range(0, len(index), _SHARD_ROWS):
            samples = read_samples(artifact, shard.path, index, range(start, min(start + _SHARD_ROWS, len(index))))
            rows: list[dict[str, Any]] = []
            for sample in samples:
                row = {}
                if "cls" in sample.members:
                    row["class"] = sample.members["cls"].decode(errors="replace").strip()
                if "txt" in sample.members:
                    row["prompt"] = sample.members["txt"].decode(errors="replace")
                if "json" in sample.members:
                    row |= _object(sample.members["json"], f"{artifact.uri}/{shard.path} {sample.key}")
                rows.append(row)
            yield _table(rows, f"{artifact.uri}/{shard.path}", start)
