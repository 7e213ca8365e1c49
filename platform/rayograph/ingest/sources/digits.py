"""scikit-learn's handwritten digits as a source."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pyarrow as pa

from rayograph.ingest.sources.file_listing import Listing
from rayograph.ingest.sources.source import Findings, Rejected, Row, Task
from rayograph.shards.pixels.decode import to_png


class Digits:
    """1,797 images of 8×8 pixels and ten classes."""

    unit = "images"
    findings = Findings()

    def __init__(self) -> None:
        _, labels = _digits()
        names = pa.array([f"digit-{number:05d}" for number in range(len(labels))], pa.large_string())
        self.class_names = [str(digit) for digit in range(10)]
        self._listing = Listing.of(names, None, str)
        self.fingerprint = self._listing.fingerprint

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        return self._listing.tasks(rows, held_out_fraction)

    def rows(self, task: Task) -> Iterator[Row | Rejected]:
        scans, labels = _digits()
        for number in self._listing.rows(task):
            grey = np.round(scans[number] * (255.0 / 16.0)).astype(np.uint8)
            key = self._listing.keys[number]
            yield Row(key, key, to_png(np.repeat(grey[..., None], 3, axis=2)), int(labels[number]))


@lru_cache(maxsize=1)
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 8, 8) in 0…16, and the digits."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target
