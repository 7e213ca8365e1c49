"""filter_images, shard by shard: an index of what stays, and the names of what goes, with reasons.

An index holds places in a tar, wherever that lies: one of fewer samples is all that a reader needs to see fewer.

Shapes: n samples of a shard.
"""

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel

from rayograph.config.job.filtering import FilterImages, Score
from rayograph.errors import DataError, StorageError
from rayograph.ingest.columns import class_of
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import FileRecord
from rayograph.shards.committed import Shards
from rayograph.shards.pixels.decode import EXTENSIONS
from rayograph.shards.pixels.sizes import HEAD_BYTES, upright_size
from rayograph.shards.sample import Sample
from rayograph.shards.shard_index import ShardIndex, index_name
from rayograph.shards.store import fetch_spans
from rayograph.storage import Access, open_store

LEFT_OUT = "left_out/"
"""Keys and reasons of a shard's samples that do not stay, a JSON object a line."""

ROWS_AT_ONCE = 1024
"""Samples whose captions, classes, JSON or first bytes are in memory at a time."""


_unwanted: dict[str, frozenset[str]] = {}
"""Keys by file, for a worker that looks at many shards."""


class FilteredShard(BaseModel):
    """What became of one shard."""

    files: list[FileRecord]
    samples: int
    left_out: dict[str, int]
    """How many, by what decided."""


@dataclass(frozen=True)
class Filter:
    """What stays of a data set's shards. `classes` and `classes_left_out` are the declared ones, as numbers."""

    declared: FilterImages
    shards: Shards
    target: Artifact
    classes: frozenset[int] | None
    classes_left_out: frozenset[int]
    access: Access

    def __call__(self, name: str) -> bytes:
        """Write the shard's index of what stays, and the names of what does not; the `FilteredShard` as JSON."""
        index = self.shards.index(name)
        reasons: dict[int, tuple[str, str]] = {}
        self._by_key(index, reasons)
        self._by_members(name, index, reasons)
        self._by_size(name, index, reasons)
        kept = np.array([row for row in range(len(index)) if row not in reasons], np.int64)
        lines = [json.dumps({"key": index.keys[row], "reason": reasons[row][1]}) for row in sorted(reasons)]
        stem = name.rpartition("/")[2].removesuffix(".tar")
        files = [self.target.write(f"{LEFT_OUT}{stem}.jsonl", "".join(f"{line}\n" for line in lines).encode())]
        if len(kept):
            tar = FileRecord(path=name, bytes=index.size, sha256=index.sha256)
            files += [tar, self.target.write(index_name(name), chosen(index, kept).to_bytes())]
        counts = dict(sorted(Counter(what for what, _ in reasons.values()).items()))
        return FilteredShard(files=files, samples=len(kept), left_out=counts).model_dump_json().encode()

    def _by_key(self, index: ShardIndex, reasons: dict[int, tuple[str, str]]) -> None:
        uri = self.declared.keys_left_out_uri
        if uri is not None:
            if uri not in _unwanted:
                _unwanted[uri] = keys_in(uri, self.access)
            unwanted = _unwanted[uri]
            reasons.update({row: ("key", "named") for row, key in enumerate(index.keys) if key in unwanted})

    def _by_members(self, name: str, index: ShardIndex, reasons: dict[int, tuple[str, str]]) -> None:
        """By captions, classes and scores: of samples that stay so far, only the members that decide are read."""
        wanted = self.declared.members
        if not wanted:
            return
        thin = replace(index, members={e: columns for e, columns in index.members.items() if e in wanted})
        for part in _parts(_staying(index, reasons)):
            rows = self.shards.rows(name, thin, part)
            for number, row in enumerate(part.tolist()):
                try:
                    found = self._fault(rows.sample(number))
                except DataError as error:
                    found = "unreadable", str(error)
                if found is not None:
                    reasons[row] = found

    def _fault(self, sample: Sample) -> tuple[str, str] | None:
        """What of a sample's members decides that it goes, and why; None where it stays."""
        declared = self.declared
        least, most = declared.minimum_caption_length, declared.maximum_caption_length
        if least is not None or most is not None:
            length = len(sample.members.get("txt", b"").decode(errors="replace").strip())
            if fault := _outside(length, least, most):
                return "caption", f"expected a caption of {fault} characters, got {length}"
        if self.classes is not None or self.classes_left_out:
            number = class_of(sample) if "cls" in sample.members else None
            if number in self.classes_left_out or (self.classes is not None and number not in self.classes):
                return "class", "no class" if number is None else f"class {number}"
        if declared.score is not None:
            score = score_of(sample, declared.score)
            if score is None:
                return "score", f"expected a number {declared.score.field}, got none"
            if fault := _outside(score, declared.score.minimum, declared.score.maximum):
                return "score", f"expected {declared.score.field} of {fault}, got {score:g}"
        return None

    def _by_size(self, name: str, index: ShardIndex, reasons: dict[int, tuple[str, str]]) -> None:
        """By width and height, which the first bytes of a file tell: images are not read whole, and none is decoded."""
        if not self.declared.looks_at_pixels:
            return
        offsets, sizes = _image_places(index)
        for part in _parts(_staying(index, reasons)):
            starts, heads = offsets[part], np.minimum(sizes[part], HEAD_BYTES).clip(0)
            found = fetch_spans(self.shards.tars, name, starts, starts + heads)
            for row, head in zip(part.tolist(), found, strict=True):
                fault = self._size_fault(head, self._whole(name, index, row), f"{name}: sample {index.keys[row]}")
                if fault is not None:
                    reasons[row] = fault

    def _whole(self, name: str, index: ShardIndex, row: int) -> Callable[[], bytes]:
        def read() -> bytes:
            sample = self.shards.rows(name, index, [row]).sample(0)
            return next((sample.members[e] for e in EXTENSIONS if e in sample.members), b"")

        return read

    def _size_fault(self, head: bytes, whole: Callable[[], bytes], name: str) -> tuple[str, str] | None:
        declared = self.declared
        try:
            width, height = upright_size(head, whole, name)
        except DataError as error:
            return "unreadable", str(error)
        if fault := _outside(min(width, height), declared.minimum_size, None) or _outside(
            max(width, height), None, declared.maximum_size
        ):
            return "size", f"expected {fault} pixels a side, got {width}×{height}"
        if fault := _outside(width / height, declared.minimum_aspect, declared.maximum_aspect):
            return "aspect", f"expected width over height of {fault}, got {width}×{height}"
        return None


def chosen(index: ShardIndex, rows: np.ndarray) -> ShardIndex:
    """Return the same tar's index, of some of its samples."""
    members = {extension: columns[rows] for extension, columns in index.members.items()}
    return ShardIndex(index.size, index.sha256, [index.keys[row] for row in rows.tolist()], members)


def keys_in(uri: str, access: Access) -> frozenset[str]:
    """Return the lines of a text file. Raises DataError for one that is not there, or no text."""
    folder, _, name = uri.rpartition("/")
    try:
        text = open_store(folder or ".", access).read(name).decode()
    except (StorageError, UnicodeDecodeError) as error:
        raise DataError(f"keys_left_out_uri: expected a text file at {uri}: {error}") from error
    return frozenset(line for line in text.splitlines() if line)


def score_of(sample: Sample, score: Score) -> float | None:
    """Return the number that a sample's JSON has for it; None for none, or for none that is finite."""
    try:
        value: object = json.loads(sample.members.get("json", b"null"))
    except ValueError:
        return None
    for name in score.field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _outside(value: float, least: float | None, most: float | None) -> str | None:
    """The bound that a value breaks, in words."""
    if least is not None and value < least:
        return f"at least {least:g}"
    return f"at most {most:g}" if most is not None and value > most else None


def _staying(index: ShardIndex, reasons: dict[int, tuple[str, str]]) -> np.ndarray:
    return np.array([row for row in range(len(index)) if row not in reasons], np.int64)


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // ROWS_AT_ONCE)) if len(rows) else []


def _image_places(index: ShardIndex) -> tuple[np.ndarray, np.ndarray]:
    """Offset and size (n,) of each sample's image, the first by `EXTENSIONS`; of size -1 where it has none."""
    offsets, sizes = np.zeros(len(index), np.int64), np.full(len(index), -1, np.int64)
    for extension in reversed(EXTENSIONS):
        if extension in index.members:
            columns = index.members[extension]
            there = columns.sizes >= 0
            offsets, sizes = np.where(there, columns.offsets, offsets), np.where(there, columns.sizes, sizes)
    return offsets, sizes
