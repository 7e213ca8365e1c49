"""Rows of Arrow tables, whichever file they came from."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rayograph.config import Columns
from rayograph.errors import DataError
from rayograph.ingest.sources.base import Rejected, Row
from rayograph.ingest.sources.boxes import parse_boxes
from rayograph.ingest.sources.labels import Labels
from rayograph.ingest.sources.naming import Chosen, clean_key
from rayograph.ingest.sources.places import Places, refuse_the_web

Cells = dict[str, Any]


@dataclass(frozen=True)
class TableRows:
    """Makes rows of a table's cells. `where` is the table's address; without `labels` nothing has a class."""

    chosen: Chosen
    places: Places
    labels: Labels | None
    where: str

    def row(self, number: int, key: str, cells: Cells) -> Row | Rejected:
        """Row `number` of the table. Raises DataError for images that lie in the web, as then all of them do."""
        where = f"{self.where} row {number}"
        image = cells[self.chosen.image]
        given = cells.get(self.chosen.key or "")
        key = key if given in (None, "") else clean_key(str(given))
        if isinstance(image, str):
            refuse_the_web(image, where)
            where = self.places.uri(image)
        if image is None and cells.get("status") not in (None, "success"):  # img2dataset's: it did not get this one
            return Rejected(key, f"{where}: {cells['status']}", counted=False)
        try:
            return Row(
                key,
                where,
                self._bytes(image, where),
                self._label(cells, where),
                caption_of(cells.get(self.chosen.caption or ""), where),
                parse_boxes(cells.get(self.chosen.boxes or ""), where),
                self._bytes(mask, where) if (mask := cells.get(self.chosen.mask or "")) is not None else None,
                {name: value for name, value in cells.items() if name not in self.chosen.names and _is_json(value)},
            )
        except DataError as error:
            return Rejected(key, str(error))

    def _bytes(self, cell: Any, where: str) -> bytes:
        if isinstance(cell, dict):  # Hugging Face's
            cell = cell.get("path") if cell.get("bytes") is None else cell["bytes"]
        if isinstance(cell, bytes):
            return cell
        if isinstance(cell, str):
            return self.places.read(cell)
        raise DataError(
            f"{where}: expected an image's bytes or URI, got {'none' if cell is None else type(cell).__name__}"
        )

    def _label(self, cells: Cells, where: str) -> int | None:
        if self.labels is None or self.chosen.label is None:
            return None
        return self.labels.number(cells[self.chosen.label], where)


def caption_of(given: Any, where: str) -> str | None:
    """Raises DataError naming the sample for bytes that are not UTF-8."""
    if not isinstance(given, bytes):
        return None if given is None else str(given)
    try:
        return given.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: expected a caption in UTF-8: {error}") from error


def columns_to_read(schema: pa.Schema, chosen: Chosen, where: str) -> list[str]:
    """What has a part, and what is plain enough to be metadata. Raises DataError for an image column of no use."""
    kind = _value_type(schema.field(chosen.image).type)
    if not (_is_text(kind) or _is_bytes(kind) or pa.types.is_struct(kind)):
        raise DataError(f"{where}: expected bytes, a struct of bytes or URIs in column {chosen.image!r}, got {kind}")
    return [field.name for field in schema if field.name in chosen.names or _is_plain(_value_type(field.type))]


def holds_addresses(schema: pa.Schema, chosen: Chosen) -> bool:
    """Whether the image column holds URIs rather than images."""
    return _is_text(_value_type(schema.field(chosen.image).type))


def cells_of(batch: pa.RecordBatch | pa.Table, chosen: Chosen) -> Iterator[Cells]:
    """Row by row. Captions stay bytes, for the row to find out whether they are UTF-8: Arrow does not look."""
    columns = {}
    for name in batch.schema.names:
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        text = _is_text(column.type)
        values = (column.cast(pa.large_binary()) if text else column).to_pylist()
        if text and name != chosen.caption:
            values = [value if value is None else value.decode(errors="replace") for value in values]
        columns[name] = values
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def labels_of(
    declared: Columns, schema: pa.Schema, chosen: Chosen, distinct: Callable[[], Iterable[str | None]]
) -> Labels | None:
    """How the label column's values become numbers; `distinct` is the first pass over it, made only if need be."""
    if chosen.label is None:
        return None
    if declared.class_names:
        return Labels(declared.class_names)
    if not _is_text(_value_type(schema.field(chosen.label).type)):
        return Labels(_hugging_face_names(schema, chosen.label))
    return Labels(tuple(sorted({name for name in distinct() if name is not None})))


def _hugging_face_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The names of a `ClassLabel`, which Hugging Face's datasets leave in the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_plain(kind: pa.DataType) -> bool:
    return bool(_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_json(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
