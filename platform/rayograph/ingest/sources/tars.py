"""WebDataset tars as a source: each is a task, however many samples it holds."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rayograph.config import Columns, WebDatasetShards
from rayograph.errors import DataError, MissingObjectError
from rayograph.ingest.sources.below import files_below
from rayograph.ingest.sources.boxes import parse_boxes
from rayograph.ingest.sources.captions import captions_of
from rayograph.ingest.sources.labels import Labels
from rayograph.ingest.sources.naming import KNOWN
from rayograph.ingest.sources.source import Findings, Rejected, Row, Task
from rayograph.json_types import Json
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.shards.headers import printable
from rayograph.shards.pixels.decode import EXTENSIONS
from rayograph.shards.scan import CLASSES, TORN, scan_shard
from rayograph.shards.shard_index import SUFFIX, ShardIndex, index_name
from rayograph.shards.spot_check import still_holds
from rayograph.shards.store import fetch_rows
from rayograph.storage import Access

_READ_BYTES = 32 << 20
"""About so much of a tar is held at once."""

_ALSO = {"image": EXTENSIONS, "boxes": ("bbox.json", "boxes.json")}


class Tars:
    """Samples by key; a part is a member, or a field of the member json."""

    unit = "tars"

    def __init__(self, declared: WebDatasetShards, endpoint_url: Access) -> None:
        self._store, files, passed_over = files_below(declared.uri, endpoint_url, ".tar")
        passed_over.pop(SUFFIX, None)  # the sidecars are read
        self.findings = Findings(passed_over)
        self._keys, self._sizes = [key for key, _ in files], dict(files)
        self._columns = declared.columns
        self._labels = Labels(declared.columns.class_names)
        self.class_names = list(declared.columns.class_names)
        self.fingerprint = sha256(json.dumps(files).encode())[:16]

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        return [Task(number, number, 0, 1, 1) for number in range(len(self._keys))]

    def rows(self, task: Task) -> Iterator[Row | Rejected]:
        key = self._keys[task.part]
        index = self._index(key)
        uri = self._store.uri_of(key)
        for bad in index.rejected:
            yield Rejected(bad["key"], f"{uri}: {bad['reason']}")
        members = {name: column for name, column in index.members.items() if name in self._wanted(index.members)}
        if not any(name in members for name in _candidates(self._columns, "image")):
            raise DataError(_without_image(uri, "images", "members ", list(index.members)))
        whole, index = index, replace(index, members=members)
        for rows in _portions(index):
            fetched = fetch_rows(Artifact(self._store, ""), key, index, rows)
            for number, name in enumerate(fetched.keys):
                where = f"{uri}: {printable(name)}"
                try:
                    sample = fetched.sample(number)
                    if not isinstance(_part(self._columns, "image", sample.members, {}), bytes):
                        present = [ext for ext, column in whole.members.items() if column.sizes[rows[number]] >= 0]
                        raise DataError(_without_image(where, "an image", "", present))
                    yield self._row(name, sample.members, where)
                except DataError as error:
                    yield Rejected(name, str(error))
                except Exception as error:  # noqa: BLE001 - of whatever class, it is this sample's rejection
                    yield Rejected(name, f"{where}: {type(error).__name__}: {' '.join(str(error).split())[:400]}")

    def _index(self, key: str) -> ShardIndex:
        """The one beside the tar, or else what is found by reading it through."""
        name = index_name(key)
        try:
            index = ShardIndex.from_bytes(self._store.read(name), self._store.uri_of(name))
        except (MissingObjectError, DataError):  # an index of another make may be called so
            return scan_shard(self._store, key)
        # `rayograph index` leaves out what has no image or class of a known name; other columns may be wanted here.
        narrower = CLASSES in index.facts and (self._columns.image is not None or self._columns.label is not None)
        if narrower or not still_holds(Artifact(self._store, ""), key, index, self._sizes[key]):
            return scan_shard(self._store, key)
        return index

    def _wanted(self, present: Iterable[str]) -> set[str]:
        parts = {name for part in KNOWN for name in _candidates(self._columns, part)}
        return (parts | {"json"}) & set(present)

    def _row(self, key: str, members: dict[str, bytes], where: str) -> Row:
        fields = _fields(members.get("json"), where)
        label = _part(self._columns, "label", members, fields)
        if label is None and self._columns.label:
            raise DataError(f"{where}: expected a label ({self._columns.label}), got {', '.join(members)}")
        mask = _part(self._columns, "mask", members, {})
        captions = captions_of(_part(self._columns, "caption", members, fields), where)
        if self._columns.captions == "all" and captions:
            fields = fields | {"captions": captions}
        return Row(
            key,
            where,
            _part(self._columns, "image", members, {}),
            None if label is None else self._labels.number(label, where),
            captions[0] if captions else None,
            parse_boxes(_part(self._columns, "boxes", members, fields), where),
            mask if isinstance(mask, bytes) else None,
            fields,
            captions_left=0 if self._columns.captions == "all" else max(0, len(captions) - 1),
        )


def _without_image(where: str, expected: str, what: str, present: list[str]) -> str:
    """Why there is none, where names with dots in them are the reason."""
    torn = any("." in name and name.rpartition(".")[2] in EXTENSIONS for name in present)
    got = f"{what}{', '.join(present[:8])}"
    return f"{where}: expected {expected} ({', '.join(EXTENSIONS)}), got {got}{TORN if torn else ''}"


def _candidates(columns: Columns, part: str) -> tuple[str, ...]:
    declared = getattr(columns, part)
    if declared is not None:
        return (declared.lower(), declared)
    return (*_ALSO.get(part, ()), *KNOWN[part])


def _part(columns: Columns, part: str, members: dict[str, bytes], fields: Mapping[str, Json]) -> Any:
    """The member's bytes, or else the field's value; None for neither."""
    for name in _candidates(columns, part):
        if name in members:
            return members[name]
    return next((fields[name] for name in _candidates(columns, part) if fields.get(name) is not None), None)


def _fields(data: bytes | None, where: str) -> dict[str, Json]:
    """What a json member says; NaN, as pandas writes what is missing, is null.

    Raises DataError naming the sample for what is no JSON, or such as nothing else would read again: Python alone knows
    numbers beyond a double and single surrogates.
    """
    if data is None:
        return {}
    try:
        fields = json.loads(data, parse_constant=_constant)
        json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected JSON in its member json: {error}"[:400]) from error
    return fields if isinstance(fields, dict) else {}


def _constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(f"{name} is no number")


def _portions(index: ShardIndex) -> Iterator[np.ndarray]:
    """Rows in order, about `_READ_BYTES` together."""
    sizes = np.zeros(len(index), np.int64)
    for columns in index.members.values():
        sizes += np.maximum(columns.sizes, 0)
    portion = np.cumsum(sizes) // _READ_BYTES
    cuts = np.flatnonzero(np.diff(portion)) + 1
    return iter(np.split(np.arange(len(index)), cuts)) if len(index) else iter(())
