"""Tiles of another source's images: large photographs as many small ones, all of one photograph in the same split.

Shapes: h w pixels.
"""

from collections.abc import Iterator

import numpy as np

from rayograph.config import Tiles
from rayograph.errors import DataError, StorageError
from rayograph.ingest.sources.source import Findings, LeftOut, Rejected, Row, Source, Task, rejected
from rayograph.runs.digests import sha256
from rayograph.shards.pixels.decode import render, to_png
from rayograph.shards.pixels.frames import Frame

FLAT = "tiles without detail"

_TILES_OF_ONE = 64
"""About, of a photograph: what a task's rows are counted by."""


class TiledSource:
    """The inner source's images, reduced and cut on a grid that lies in their middle."""

    def __init__(self, declared: Tiles, inner: Source) -> None:
        self._declared, self._inner = declared, inner
        self.unit, self.class_names = inner.unit, inner.class_names
        cut = f"{declared.size} {declared.reduction} {declared.least_detail}"
        self.fingerprint = sha256(f"{inner.fingerprint} {cut}".encode())[:16]
        found = inner.findings
        note = f"cut into tiles of {declared.size} pixels at 1/{declared.reduction} of the size; split by photograph"
        self.findings = Findings(found.passed_over, (*found.notes, note), found.facts)

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        return self._inner.tasks(max(1, rows // _TILES_OF_ONE), held_out_fraction)

    def rows(self, task: Task) -> Iterator[Row | Rejected | LeftOut]:
        for row in self._inner.rows(task):
            if isinstance(row, Row):
                yield from self._tiles(row)
            else:
                yield row

    def _tiles(self, row: Row) -> Iterator[Row | Rejected | LeftOut]:
        try:
            pixels = render(row.image, row.place, self._reduced)
            side = self._declared.size
            if min(pixels.shape[:2]) < side:
                raise DataError(
                    f"{row.place}: expected at least {side} pixels a side at 1/{self._declared.reduction} of the size, "
                    f"got {pixels.shape[1]}×{pixels.shape[0]}"
                )
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - of whatever class, it is this photograph's rejection
            yield rejected(row.key, row.place, error)
            return
        rows, columns = (length // side for length in pixels.shape[:2])
        top, left = (pixels.shape[0] - rows * side) // 2, (pixels.shape[1] - columns * side) // 2
        for y, x in np.ndindex(rows, columns):
            tile = pixels[top + y * side :, left + x * side :][:side, :side]
            if detail(tile) < self._declared.least_detail:
                yield LeftOut(FLAT)
                continue
            yield Row(
                key=f"{row.key}-{y:03d}-{x:03d}",
                place=f"{row.place} tile {y}, {x}",
                image=to_png(np.ascontiguousarray(tile)),
                label=row.label,
                caption=row.caption,
                metadata=row.metadata | {"tile_of": row.key},
                split=row.split,
                group=row.group or row.key,
            )

    def _reduced(self, width: int, height: int) -> Frame:
        by = self._declared.reduction
        return Frame(0, 0, width, height, (max(1, width // by), max(1, height // by)))


def detail(pixels: np.ndarray) -> float:
    """How far neighbours are apart, in 255ths of grey on average: 0 of a plain area, 1 to 2 of what is out of focus."""
    grey = pixels.mean(axis=2)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2
