"""Folders of image files: all that are there, each with the caption beside it.

Shapes: n images.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute

from rayograph.config import ImageFolder
from rayograph.errors import DataError, StorageError
from rayograph.ingest.sources.ahead import ahead
from rayograph.ingest.sources.below import Below, told
from rayograph.ingest.sources.captions import caption_of
from rayograph.ingest.sources.file_listing import Listing
from rayograph.ingest.sources.labels import Labels, class_order
from rayograph.ingest.sources.source import Findings, Rejected, Row, Task, rejected
from rayograph.ingest.sources.splits import class_folders, held_out_folders
from rayograph.runs.digests import sha256
from rayograph.shards.headers import printable
from rayograph.shards.pixels.decode import IMAGE_EXTENSIONS
from rayograph.storage import Access
from rayograph.storage.places import read_file

CAPTION = ".txt"

MOST_CAPTION_BYTES = 1 << 20
"""A longer text beside an image is none of its captions, but has lost its way."""

_CHUNK = 65_536
_ENDING = r"\.[^./]*$"


class Folder:
    """Image files, in the order of their keys' hashes."""

    unit = "images"

    def __init__(self, declared: ImageFolder, endpoint_url: Access) -> None:
        below = Below(declared.uri, endpoint_url)
        images, captions = _Names(), _Names()
        self._long: dict[str, int] = {}
        for info in below.files((*IMAGE_EXTENSIONS, CAPTION)):
            is_caption = info.key.lower().endswith(CAPTION)
            (captions if is_caption else images).add(info.key)
            if is_caption and info.size > MOST_CAPTION_BYTES:
                self._long[printable(info.key)] = info.size
        paths = images.array()
        if not len(paths):
            below.pass_over(CAPTION, len(captions))
            raise DataError(
                f"{declared.uri}: expected image files ({', '.join(IMAGE_EXTENSIONS)}), found none"
                f"{told({kind: count for kind, count in below.passed_over.items() if count})}"
            )
        self._store, notes = below.store, list[str]()
        self._captions = _beside(paths, captions.array(), below, notes)
        self._real = images.real | captions.real
        self._paths = paths
        held_out, depth = held_out_folders(paths, declared, self._store.uri, notes)
        self._classes, self._labels = None, Labels()
        if declared.class_per_folder:
            self._classes = class_folders(paths, depth, self._store.uri)
            self._labels = Labels(class_order(self._classes.dictionary.to_pylist()))
        self.class_names = list(self._labels.names)
        self._listing = Listing.of(paths, None, self._place, held_out)
        self.fingerprint = self._listing.fingerprint
        if self._captions is not None:
            having = self._captions.is_valid().to_numpy(zero_copy_only=False)
            self.fingerprint = sha256(self.fingerprint.encode() + np.packbits(having).tobytes())[:16]
        self.findings = Findings(dict(below.passed_over), tuple(notes))

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        return self._listing.tasks(rows, held_out_fraction)

    def rows(self, task: Task) -> Iterator[Row | Rejected]:
        split = self._listing.split(task)
        return ahead(lambda number: self._row(number, split), self._listing.rows(task))

    def _row(self, number: int, split: str | None) -> Row | Rejected:
        key, where = self._listing.keys[number], self._place(number)
        try:
            image = self._read(self._listing.keys.paths[number].as_py(), where, "an image")
            label = None if self._classes is None else self._labels.number(self._classes[number].as_py(), where)
            return Row(key, where, image, label, self._caption(number), split=split)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - of whatever class, it is this image's rejection
            return rejected(key, where, error)

    def _caption(self, number: int) -> str | None:
        """What the file says, without the blanks and line ends that editors leave around it."""
        path = None if self._captions is None else self._captions[number].as_py()
        if path is None:
            return None
        where = self._store.uri_of(path)
        if path in self._long:
            raise DataError(
                f"{where}: expected a caption of at most {MOST_CAPTION_BYTES:,} bytes, got {self._long[path]:,}"
            )
        caption = caption_of(self._read(path, where, "a caption"), where)
        return None if caption is None else caption.strip()

    def _read(self, path: str, where: str, what: str) -> bytes:
        return read_file(self._store, self._real.get(path, path), where, what)

    def _place(self, number: int) -> str:
        return self._store.uri_of(self._paths[number].as_py())


class _Names:
    """Many names as they come; one that is not UTF-8 is written out, and `real` has what it is called."""

    def __init__(self) -> None:
        self.real: dict[str, str] = {}
        self._chunks: list[pa.Array] = []
        self._names: list[str] = []

    def add(self, name: str) -> None:
        self._names.append(name)
        if len(self._names) == _CHUNK:
            self._flush()

    def array(self) -> pa.Array:
        """All of them, as one array of text."""
        self._flush()
        return pa.concat_arrays(self._chunks)

    def __len__(self) -> int:
        return sum(map(len, self._chunks)) + len(self._names)

    def _flush(self) -> None:
        try:
            chunk = pa.array(self._names, pa.large_string())
        except UnicodeEncodeError:
            for number, name in enumerate(self._names):
                written = printable(name)
                if written != name:
                    self.real[written] = name
                    self._names[number] = written
            chunk = pa.array(self._names, pa.large_string())
        self._chunks.append(chunk)
        self._names = []


def _beside(images: pa.Array, texts: pa.Array, below: Below, notes: list[str]) -> pa.Array | None:
    """For each image the caption file of its name, or none; None where no image has one. What is left over is said."""
    if not len(texts):
        return None
    stems = pa.compute.replace_substring_regex(texts, _ENDING, "")
    wanted = pa.compute.replace_substring_regex(images, _ENDING, "")
    found = texts.take(pa.compute.index_in(wanted, stems))
    alone = len(texts) - pa.compute.sum(pa.compute.is_in(stems, wanted)).as_py()
    if alone:
        below.pass_over(f"{CAPTION} without an image", alone)
    if found.null_count == len(found):
        return None
    without = f", {found.null_count:,} have none" if found.null_count else ""
    notes.append(f"{len(found) - found.null_count:,} images have a caption beside them ({CAPTION}){without}")
    return found
