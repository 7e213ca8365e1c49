"""Files that a request's rows hold or name, as images, maps and masks: their bytes in the column, once a page each.

A row has the bytes themselves (parquet), the file in base64, a data URL, or where it lies below the request's folder.
What is read is kept with the plan: a generation is drawn again when its files are gone.
"""

import binascii
from base64 import b64decode
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache

from rayograph.conditioning.member_columns import WrongRow, nulls, shown, whole
from rayograph.conditioning.protocol import Conditioner
from rayograph.config import Request
from rayograph.errors import DataError
from rayograph.storage import Access, open_store
from rayograph.storage.places import Places

FILE = "\0file of "
"""Before a column's name: the column of what its files are called."""

MAX_FILE_BYTES = 16 << 20
PAGE_BYTES = 32 << 20
"""Of files that are held at once, each counted once; a page has one file at least."""

READS_AT_ONCE = 8


@dataclass(frozen=True)
class ColumnFiles:
    """Reads the files of some columns."""

    uri: str
    columns: tuple[str, ...]
    text: Literal["uri", "base64"]
    """What text in them is."""
    places: Places
    _known: LRUCache[str, bytes] = field(default_factory=lambda: LRUCache(PAGE_BYTES, getsizeof=len))

    @staticmethod
    def of(request: Request, conditioner: Conditioner, endpoint_url: Access) -> "ColumnFiles | None":
        """None where the conditioner reads no files."""
        names = tuple(name for name, held in conditioner.columns.items() if pa.types.is_binary(held))
        if not names:
            return None
        folder = request.uri.rpartition("/")[0]
        store = open_store(folder or ("/" if request.uri.startswith("/") else "."), endpoint_url)
        return ColumnFiles(request.uri, names, request.files, Places(store, "", endpoint_url, request.allow, "request"))

    def filled(self, tables: Iterable[pa.Table], page_rows: int) -> Iterator[pa.Table]:
        """Pages of so many rows and of `PAGE_BYTES`, cut where they are however the tables come.

        Raises DataError naming the request, the row, the column and its file.
        """
        page, first = _Page(self.columns), 0
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="files") as pool:
            for table in tables:
                there = [name for name in self.columns if table.column_names.count(name) == 1]
                part, start = self._without_files(table, there), 0
                if not page.goes_with(part):
                    yield page.table()
                    page = _Page(self.columns)
                for row, files in enumerate(self._files(table, there, first, pool)):
                    if not page.takes(files, page_rows):
                        page.add(part.slice(start, row - start))
                        yield page.table()
                        page, start = _Page(self.columns), row
                    page.put(files)
                page.add(part.slice(start))
                first += len(table)
        if page.rows:
            yield page.table()

    def _without_files(self, table: pa.Table, columns: list[str]) -> pa.Table:
        """What a table has beside its files, and what these are called: those that are there have no names."""
        rest = table.drop_columns(columns).append_column(_NOTHING, pa.nulls(len(table)))
        for name in columns:
            named = self.text == "uri" and _is_text(table[name].type)
            names = [value[:200] if _is_name(value) else None for value in table[name].to_pylist()] if named else None
            rest = rest.append_column(FILE + name, pa.array(names or [None] * len(table), pa.string()))
        return rest

    def _files(
        self, table: pa.Table, columns: list[str], first: int, pool: ThreadPoolExecutor
    ) -> Iterator[dict[str, bytes | None]]:
        """Each row's; of those that rows name, the next few are read side by side when the first of them is wanted."""
        given = {name: table[name].to_pylist() if _is_text(table[name].type) else table[name] for name in columns}
        names = {name: values for name, values in given.items() if isinstance(values, list) and self.text == "uri"}
        few: dict[str, bytes] = {}
        for row in range(len(table)):
            wanted = [values[row] for values in names.values() if _is_name(values[row])]
            if not all(name in few or name in self._known for name in wanted):
                few = self._next(names, row, first, pool)
            found: dict[str, bytes | None] = {}
            for column, values in given.items():
                said = values[row] if isinstance(values, list) else values[row].as_py()
                if column in names and _is_name(said):
                    found[column] = few[said] if said in few else self._known[said]
                else:
                    found[column] = self._bytes(said, f"{self.uri} row {first + row}: {column}")
            yield found

    def _next(
        self, names: dict[str, list[str | None]], start: int, first: int, pool: ThreadPoolExecutor
    ) -> dict[str, bytes]:
        """The next files that are named from row `start` on, and all of that row."""
        missing: dict[str, str] = {}
        for row in range(start, len(next(iter(names.values())))):
            if len(missing) >= READS_AT_ONCE:
                break
            for column, values in names.items():
                name = values[row]
                if name is not None and _is_name(name) and (row == start or name not in self._known):
                    missing.setdefault(name, f"{self.uri} row {first + row}: {column}")
        found = dict(zip(missing, pool.map(self._file, missing, missing.values()), strict=True))
        self._known.update(found)
        return found

    def _file(self, name: str, where: str) -> bytes:
        try:
            return self.places.read(name, MAX_FILE_BYTES)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error

    def _bytes(self, given: object, where: str) -> bytes | None:
        match given:
            case None:
                return None
            case bytes():
                data = given
            case str() if given.startswith(_DATA_URL):
                head, comma, text = given.partition(",")
                if not comma or not head.endswith(";base64"):
                    raise DataError(f"{where}: expected a data URL in base64, data:…;base64,…, got {shown(given)}")
                data = _decoded(text, where)
            case str():
                data = _decoded(given, where)
            case _:
                raise DataError(f"{where}: expected a file's name, or its bytes, got {shown(given)}")
        if len(data) > MAX_FILE_BYTES:
            raise DataError(f"{where}: expected at most {MAX_FILE_BYTES:,} bytes, got {len(data):,}")
        return data


def validated(conditioner: Conditioner, rows: pa.Table) -> pa.Table:
    """Check rows whose files stand in dictionaries: a conditioner is shown bytes, no more of them than a page holds.

    Raises WrongRow for the first bad row.
    """
    files = [name for name in rows.column_names if pa.types.is_dictionary(rows[name].type)]
    if not files:
        return conditioner.validate(rows)
    parts = []
    for start, stop in _bounds([whole(rows[name]) for name in files], len(rows)):
        part = rows.slice(start, stop - start)
        for name in files:
            column = whole(part[name]).dictionary_decode()
            part = part.set_column(part.column_names.index(name), name, column)
        try:
            found = conditioner.validate(part)
        except WrongRow as error:
            raise WrongRow(start + error.row, error.column, error.expected, error.got) from error
        for at, kind in enumerate(found.schema.types):
            if pa.types.is_binary(kind):
                found = found.set_column(at, found.column_names[at], whole(found.column(at)).dictionary_encode())
        parts.append(found)
    return pa.concat_tables(parts, promote_options="default").combine_chunks()


def _bounds(columns: list[pa.DictionaryArray], rows: int) -> Iterator[tuple[int, int]]:
    """Cuts rows where their files together, each row with its own copies, come to `PAGE_BYTES`."""
    sizes = np.zeros(rows, np.int64)
    for column in columns:
        lengths = pc.binary_length(column.dictionary).to_numpy(zero_copy_only=False)
        known = ~nulls(column)
        sizes[known] += lengths[np.array(column.indices.drop_null())]
    start, held = 0, 0
    for row, size in enumerate(sizes.tolist()):
        if row > start and held + size > PAGE_BYTES:
            yield start, row
            start, held = row, 0
        held += size
    yield start, rows


_DATA_URL = "data:"
_NOTHING = "\0"


class _Page:
    """Rows under way, and their files, each once."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.rows, self._bytes = 0, 0
        self._places: dict[str, dict[bytes, int]] = {name: {} for name in columns}
        self._indices: dict[str, list[int | None]] = {name: [] for name in columns}
        self._parts: list[pa.Table] = []

    def takes(self, files: dict[str, bytes | None], most_rows: int) -> bool:
        """Whether a row of these files goes in."""
        fresh = sum(len(data) for name, data in files.items() if data is not None and data not in self._places[name])
        return not self.rows or (self.rows < most_rows and self._bytes + fresh <= PAGE_BYTES)

    def put(self, files: dict[str, bytes | None]) -> None:
        self.rows += 1
        for name, places in self._places.items():
            data = files.get(name)
            if data is None:
                self._indices[name].append(None)
                continue
            if data not in places:
                self._bytes += len(data)
            self._indices[name].append(places.setdefault(data, len(places)))

    def goes_with(self, part: pa.Table) -> bool:
        """Whether a part's columns hold what they did: files without types may change their mind."""
        try:
            pa.unify_schemas([*(before.schema for before in self._parts[-1:]), part.schema])
        except pa.ArrowException:
            return False
        return True

    def add(self, part: pa.Table) -> None:
        """What else those rows have that were put."""
        if self._parts:  # one schema for all parts, so that a look at the last one is enough
            empty = self._parts[-1].slice(0, 0)
            part = pa.concat_tables([empty, part], promote_options="default")
        self._parts.append(part)

    def table(self) -> pa.Table:
        table = pa.concat_tables(self._parts, promote_options="default").combine_chunks()
        for name, indices in self._indices.items():
            if any(index is not None for index in indices) or FILE + name in table.column_names:
                values = pa.array(list(self._places[name]), pa.binary())
                column = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), values)
                table = table.append_column(name, column)
        return table.drop_columns([_NOTHING])


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_name(given: object) -> bool:
    return isinstance(given, str) and not given.startswith(_DATA_URL)


def _decoded(text: str, where: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        reason = str(error).rstrip(".").lower()
        raise DataError(f"{where}: expected a file in base64, got {shown(text)}: {reason}") from None
