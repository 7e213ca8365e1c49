"""Where images come from: a source lists its entries, and gives the image of any one of them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from rayograph.config import ImageFolder, SklearnDigits
from rayograph.errors import DataError
from rayograph.shards.images import open_image
from rayograph.storage import open_store

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Entry:
    """One image to pack: its key, where it lies in the source, and its class, if it has one."""

    key: str
    place: str
    label: int | None


@runtime_checkable
class SourceReader(Protocol):
    """A source, opened. It travels to workers."""

    class_names: list[str]

    def entries(self) -> list[Entry]: ...

    def image(self, entry: Entry) -> Image.Image:
        """RGB. Raises DataError naming the entry if it cannot be decoded."""
        ...


def open_source(declared: SklearnDigits | ImageFolder, endpoint_url: str | None) -> SourceReader:
    """The reader of a declared source. Raises DataError or StorageError for a place that is not there."""
    if isinstance(declared, SklearnDigits):
        return _Digits()
    return _Folder(declared, endpoint_url)


class _Digits:
    def __init__(self) -> None:
        self.class_names = [str(digit) for digit in range(10)]

    def entries(self) -> list[Entry]:
        _, labels = _digits()
        return [Entry(f"digit-{number:05d}", str(number), int(label)) for number, label in enumerate(labels)]

    def image(self, entry: Entry) -> Image.Image:
        scans, _ = _digits()
        grey = np.round(scans[int(entry.place)] * (255.0 / 16.0)).astype(np.uint8)
        return Image.fromarray(grey, "L").convert("RGB")


@lru_cache(maxsize=1)
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 8, 8) in 0…16, and the digits."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target


class _Folder:
    def __init__(self, declared: ImageFolder, endpoint_url: str | None) -> None:
        self._store = open_store(declared.uri, endpoint_url)
        self._class_per_folder = declared.class_per_folder
        self._paths = [info.key for info in self._store.list() if info.key.lower().endswith(IMAGE_EXTENSIONS)]
        if not self._paths:
            raise DataError(f"{declared.uri}: expected image files ({', '.join(IMAGE_EXTENSIONS)}), found none")
        self.class_names = sorted({self._folder(path) for path in self._paths}) if self._class_per_folder else []

    def entries(self) -> list[Entry]:
        numbers = {name: number for number, name in enumerate(self.class_names)}
        entries, seen = [], set()
        for path in self._paths:
            # A dot in a WebDataset key would end it: the extension begins at the first one.
            key = path.rpartition(".")[0].replace("/", "_").replace(".", "_")
            key = path.replace("/", "_").replace(".", "_") if key in seen else key
            while key in seen:
                key += "_"
            seen.add(key)
            entries.append(Entry(key, path, numbers[self._folder(path)] if numbers else None))
        return entries

    def image(self, entry: Entry) -> Image.Image:
        return open_image(self._store.read(entry.place), self._store.uri_of(entry.place))

    def _folder(self, path: str) -> str:
        name, slash, _ = path.partition("/")
        if not slash:
            raise DataError(
                f"{self._store.uri_of(path)}: expected a folder a class (class_per_folder), got a loose file"
            )
        return name
