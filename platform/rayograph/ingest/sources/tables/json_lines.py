"""Tables of JSON lines: an object a row, whose fields may differ.

A row is kept as its line, and read again when it is wanted. So nothing is taken for what it only looks like:
"2020-01-01" stays text, and a large number stays whole. Lines are parsed thousands at a time; only where that shows
anything odd is each parsed by itself, which says which one it is.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import pyarrow as pa

from rayograph.errors import DataError
from rayograph.ingest.sources.labels import Labels, labels_of_texts
from rayograph.ingest.sources.tables.table_rows import Cells
from rayograph.ingest.sources.tables.texts import Faults, bytes_array, text_array
from rayograph.storage import ObjectStore
from rayograph.storage.range_file import RangeFile

LINE_BYTES = 16 << 20
"""No line may be longer."""

_MARK = b',"|",'
_ODD_ESCAPES = re.compile(rb"\\u(?:[dD]|007)")  # halves of letters, and what may be a mark

_BUFFER_BYTES = 4 << 20
_CHUNK_ROWS = 8192


class JsonLines:
    """The lines of a file, and the fields `wanted` of all rows, which are looked up by: text or none each."""

    def __init__(self, store: ObjectStore, key: str, wanted: Sequence[str], labels: Sequence[str]) -> None:
        """`labels` are names of fields whose different values are kept. Raises DataError for what is no such table."""
        self.where = store.uri_of(key)
        self.faults = Faults(self.where)
        self._wanted, self._values = frozenset(wanted), {name: dict[object, int]() for name in labels}
        names: dict[str, None] = {}
        lines: list[pa.Array] = []
        texts: dict[str, list[pa.Array]] = {}
        for start, chunk in _chunks(store, key):
            rows = _parse_together(chunk)
            if rows is None:
                rows = [self._parse(line, start + at) for at, line in enumerate(chunk)]
            shapes = dict.fromkeys(map(tuple, rows))
            names.update(dict.fromkeys(name for shape in shapes for name in shape))
            columns = self._columns(rows, start, {name for shape in shapes for name in shape})
            for name in columns.keys() | texts.keys():
                before = texts.setdefault(name, [pa.nulls(len(part), pa.large_string()) for part in lines])
                before.append(columns.get(name, pa.nulls(len(chunk), pa.large_string())))
            lines.append(bytes_array(chunk, pa.large_binary()))
        if len(self.faults) == sum(map(len, lines)) > 0:
            raise DataError(f"{self.where} row 0: {self.faults[0]}")
        self.names = list(names)
        self._lines = pa.chunked_array(lines, pa.large_binary())
        self._texts = {name: pa.chunked_array(parts, pa.large_string()) for name, parts in texts.items()}

    def __len__(self) -> int:
        return len(self._lines)

    def _parse(self, line: bytes, row: int) -> Cells:
        """A row's fields; none for one that is at fault."""
        try:
            fields = parse_line(line)
            for name in self._wanted & fields.keys():
                str(fields[name]).encode()  # or UnicodeEncodeError
        except (ValueError, RecursionError) as error:
            if row == 0 and line.lstrip()[:1] == b"[":
                raise DataError(f"{self.where}: expected an object a line, got a list") from error
            self.faults.add(row, f"expected a line of JSON: {' '.join(str(error).split())[:200]}")
            return {}
        return fields

    def _columns(self, rows: list[Cells], start: int, present: set[str]) -> dict[str, pa.Array]:
        """The fields that rows are looked up by, and what becomes of labels, from row `start` on."""
        for name in self._values.keys() & present:
            values = [fields.get(name) for fields in rows]
            for value, row in _first_rows(values, start):
                if isinstance(value, str | int | float):
                    self._values[name].setdefault(value, row)
        return {name: _looked_up([fields.get(name) for fields in rows]) for name in self._wanted & present}

    def text(self, name: str) -> pa.Array:
        """One of the fields that were wanted, (rows,) large_string: it is given away."""
        texts = self._texts.pop(name, None)
        return pa.nulls(len(self), pa.large_string()) if texts is None else texts.combine_chunks()

    def release(self) -> None:
        """Let go of what was needed for planning alone."""
        self._texts, self._values = {}, {}

    def cells(self, numbers: Sequence[int]) -> Iterator[Cells]:
        """The rows' fields; none for one that is no JSON, which is among the faults."""
        for line in self._lines.take(pa.array(numbers, pa.int64())).to_pylist():
            try:
                yield parse_line(line)
            except (ValueError, RecursionError):
                yield {}

    def labels(self, name: str) -> Labels:
        """How the field's values become numbers. Raises DataError naming both rows for values of two types."""
        values = self._values[name]
        texts = [value for value in values if isinstance(value, str)]
        numbers = [value for value in values if not isinstance(value, str)]
        labels = labels_of_texts(texts)
        if labels.names and numbers:
            text = min(texts, key=values.__getitem__)
            number = min(numbers, key=values.__getitem__)
            raise DataError(
                f"{self.where}: expected labels of one type in {name!r}, got text in row {values[text]} ({text[:40]!r})"
                f" and a number in row {values[number]} ({number}): columns.class_names takes both"
            )
        return labels


def parse_line(line: bytes) -> Cells:
    """An object's fields. Raises ValueError or RecursionError for anything else, and for a field that stands twice."""
    fields = _DECODER.decode(line.decode())
    if not isinstance(fields, dict):
        raise ValueError(f"expected an object, got {type(fields).__name__}")
    return fields


def _object(pairs: list[tuple[str, object]]) -> Cells:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise ValueError(f"expected fields of different names, got {twice!r} twice")
    return made


def _constant(name: str) -> None:
    """NaN is what pandas writes for none."""
    if name != "NaN":
        raise ValueError(f"{name} is no number")


_DECODER = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_object)


def _parse_together(lines: Sequence[bytes]) -> list[Cells] | None:
    """The fields of lines that are an object each, in one go; None where any of them may be anything else.

    A mark stands between lines. It is in the text nowhere else, so that where marks and objects alternate no line held
    two of them, and none began in one line and ended in the next.
    """
    together = _MARK.join(lines)
    if together.count(_MARK[1:-1]) != len(lines) - 1 or _ODD_ESCAPES.search(together):
        return None
    try:
        found = _DECODER.decode(f"[{together.decode()}]")
    except (ValueError, RecursionError):
        return None
    rows = found[::2]
    if len(found) != 2 * len(lines) - 1 or set(found[1::2]) - {_MARK[2:-2].decode()} or set(map(type, rows)) != {dict}:
        return None
    return list(rows)


def _first_rows(values: Sequence[object], start: int) -> Iterable[tuple[object, int]]:
    """(value, number of a row), the first of each value among them."""
    numbers = range(start, start + len(values))
    if set(map(type, values)) <= {str, int, type(None)}:
        return dict(zip(reversed(values), reversed(numbers), strict=True)).items()
    return zip(values, numbers, strict=True)


def _looked_up(values: Sequence[object]) -> pa.Array:
    """Texts, and numbers as texts; none for all else."""
    if set(map(type, values)) <= {str, type(None)}:
        return text_array(cast(Sequence[str | None], values))
    return text_array([str(v) if isinstance(v, str | int) and not isinstance(v, bool) else None for v in values])


def _chunks(store: ObjectStore, key: str) -> Iterator[tuple[int, list[bytes]]]:
    """(number of the first, lines), without empty lines and a mark of UTF-8."""
    start, chunk = 0, list[bytes]()
    with io.BufferedReader(RangeFile(store, key), _BUFFER_BYTES) as file:
        if file.peek(3).startswith(b"\xef\xbb\xbf"):
            file.read(3)
        while line := file.readline(LINE_BYTES + 1):
            if len(line) > LINE_BYTES:
                raise DataError(
                    f"{store.uri_of(key)} row {start + len(chunk)}: expected lines of at most {LINE_BYTES:,} bytes"
                )
            if line.strip():
                chunk.append(line)
            if len(chunk) == _CHUNK_ROWS:
                yield start, chunk
                start, chunk = start + len(chunk), []
    if chunk:
        yield start, chunk
