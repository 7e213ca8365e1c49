"""Rows of tables, whichever file they came from."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from rayograph.config import Columns
from rayograph.errors import DataError, StorageError
from rayograph.ingest.sources.ahead import refuse_the_web
from rayograph.ingest.sources.boxes import parse_boxes
from rayograph.ingest.sources.captions import caption_of, captions_of
from rayograph.ingest.sources.labels import Labels, labels_of_texts
from rayograph.ingest.sources.naming import Chosen, clean_key
from rayograph.ingest.sources.source import Rejected, Row, rejected
from rayograph.storage.places import Places

__all__ = [
    "Cells",
    "TableRows",
    "caption_of",
    "cells_of",
    "columns_to_read",
    "holds_addresses",
    "labels_of",
    "left_out",
]

Cells = dict[str, object]


@dataclass(frozen=True)
class Unreadable:
    """A cell that Python has no value for: bytes that are not UTF-8, or a date beyond the calendar."""

    reason: str


@dataclass(frozen=True)
class TableRows:
    """Makes rows of a table's cells. `where` is the table's address; without `labels` nothing has a class."""

    chosen: Chosen
    places: Places
    labels: Labels | None
    where: str
    all_captions: bool = False

    def row(self, numbers: Sequence[int], key: str, cells: Sequence[Cells]) -> Row | Rejected:
        """The rows `numbers` of the table, which are of one image: one but where an image has several captions.

        Whatever is wrong with them is their rejection. Raises DataError for images that lie in the web, as then all of
        them do, and StorageError where a store fails.
        """
        where, image = f"{self.where} row {numbers[0]}", cells[0].get(self.chosen.image)
        if isinstance(image, str):
            refuse_the_web(image, where)
        try:
            given = self._cell(cells[0], self.chosen.key, where)
            key = key if given in (None, "") else _key(given, where)
            if isinstance(image, str):
                where = self.places.uri(image)
            if image is None and cells[0].get("status") not in (None, "success"):  # img2dataset did not get this one
                return Rejected(key, f"{where}: {cells[0]['status']}", counted=False)
            return self._row(numbers, key, where, cells)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - of whatever class, it is this row's rejection
            return rejected(key, where, error)

    def _row(self, numbers: Sequence[int], key: str, where: str, cells: Sequence[Cells]) -> Row:
        captions = [text for row in cells for text in captions_of(self._cell(row, self.chosen.caption, where), where)]
        for part in (self.chosen.label, self.chosen.boxes, self.chosen.mask):
            self._require_same(part, numbers, cells)
        mask = self._cell(cells[0], self.chosen.mask, where)
        metadata = {name: _together(name, cells, where) for name in cells[0] if name not in self.chosen.names}
        if self.all_captions and captions:
            metadata["captions"] = captions
        return Row(
            key,
            where,
            self._bytes(self._cell(cells[0], self.chosen.image, where), where),
            self._label(cells[0], where),
            captions[0] if captions else None,
            parse_boxes(self._cell(cells[0], self.chosen.boxes, where), where),
            None if mask is None else self._bytes(mask, where),
            {name: value for name, value in metadata.items() if _is_json(value)},
            captions_left=0 if self.all_captions else max(0, len(captions) - 1),
        )

    def _cell(self, cells: Cells, name: str | None, where: str) -> object:
        value = None if name is None else cells.get(name)
        if isinstance(value, Unreadable):
            what = "a caption in UTF-8" if name == self.chosen.caption else f"text in UTF-8 in column {name!r}"
            raise DataError(f"{where}: expected {what}: {value.reason}")
        return value

    def _require_same(self, name: str | None, numbers: Sequence[int], cells: Sequence[Cells]) -> None:
        for number, row in zip(numbers, cells, strict=True):
            if name is not None and row.get(name) != cells[0].get(name):
                raise DataError(
                    f"{self.where} row {number}: expected the {name} that row {numbers[0]} gives the same image, "
                    f"{str(cells[0].get(name))[:40]!r}, got {str(row.get(name))[:40]!r}"
                )

    def _bytes(self, cell: object, where: str) -> bytes:
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
        return self.labels.number(self._cell(cells, self.chosen.label, where), where)


def columns_to_read(schema: pa.Schema, chosen: Chosen, where: str) -> list[str]:
    """What has a part, and what is plain enough to be metadata. Raises DataError for an image column of no use."""
    kind = value_type(schema.field(chosen.image).type)
    if not (is_text(kind) or _is_bytes(kind) or pa.types.is_struct(kind)):
        raise DataError(f"{where}: expected bytes, a struct of bytes or URIs in column {chosen.image!r}, got {kind}")
    return [field.name for field in schema if field.name in chosen.names or _is_plain(value_type(field.type))]


def left_out(schema: pa.Schema, read: Sequence[str]) -> tuple[str, ...]:
    """A note of the columns that are not read, as JSON has nothing like them."""
    names = [f"{field.name} ({str(field.type)[:40]})" for field in schema if field.name not in read]
    return (f"columns left out: {', '.join(names[:8])}{', …' * (len(names) > 8)}",) if names else ()


def holds_addresses(schema: pa.Schema, chosen: Chosen) -> bool:
    """Whether the image column holds URIs rather than images."""
    return is_text(value_type(schema.field(chosen.image).type))


def cells_of(batch: pa.RecordBatch | pa.Table) -> Iterator[Cells]:
    """Row by row; a cell that cannot be read is `Unreadable`, for its row to say so."""
    names = batch.schema.names
    for values in zip(*(_values(batch.column(number)) for number in range(len(names))), strict=True):
        yield dict(zip(names, values, strict=True))


def labels_of(
    declared: Columns, schema: pa.Schema, chosen: Chosen, distinct: Callable[[], Iterable[str]]
) -> Labels | None:
    """How the label column's values become numbers; `distinct` is the first pass over it, made only if need be."""
    if chosen.label is None:
        return None
    if declared.class_names:
        return Labels(declared.class_names)
    if not is_text(value_type(schema.field(chosen.label).type)):
        return Labels(hugging_face_names(schema, chosen.label))
    return labels_of_texts(distinct())


def hugging_face_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The names of a `ClassLabel`, which Hugging Face's datasets leave in the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def value_type(kind: pa.DataType) -> pa.DataType:
    """Of the values, where they are kept once each."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    """Of whatever layout."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_plain(kind: pa.DataType) -> bool:
    return bool(is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_json(value: object) -> bool:
    """Not what pandas writes for none. What is infinite is found when the row's JSON is made."""
    return isinstance(value, str | int | list | dict) or (isinstance(value, float) and not math.isnan(value))


def _key(given: object, where: str) -> str:
    if not isinstance(given, str | int | float):
        raise DataError(f"{where}: expected a key that is text or a number, got {type(given).__name__}")
    return clean_key(str(given))


def _together(name: str, cells: Sequence[Cells], where: str) -> object:
    """What several rows say of one image: one value where they agree, or else all."""
    values = [row.get(name) for row in cells]
    unreadable = next((value for value in values if isinstance(value, Unreadable)), None)
    if unreadable is not None:
        raise DataError(f"{where}: expected text in UTF-8 in column {name!r}: {unreadable.reason}")
    return values[0] if all(value == values[0] for value in values) else values


def _values(column: pa.Array | pa.ChunkedArray) -> list[object]:
    try:
        return list(column.to_pylist())
    except Exception:  # noqa: BLE001 - some value is none of Python's: which one, each is asked
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> object:
    try:
        found: object = scalar.as_py()
        return found
    except Exception as error:  # noqa: BLE001 - said of its own row
        return Unreadable(str(error))
