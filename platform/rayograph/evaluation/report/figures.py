"""Pictures of pictures: contact sheets as PNG bytes.

Shapes: n images, h w pixels, s steps. Small images are enlarged by whole factors without smoothing, since a smoothed
digit looks better than it is. Gaps are transparent, so a sheet lies on light and dark pages alike.
"""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from rayograph.errors import DataError

CRISP_SIDE = 96  # pixels an image should at least span on a sheet
GAP = 6


class ClassRow(NamedTuple):
    """Samples of one class side by side."""

    label: int
    png: bytes


def tile(pixels: UInt8[np.ndarray, "n h w 3"], columns: int, *, scale: int | None = None, gap: int = GAP) -> bytes:
    """A grid in reading order, `columns` wide; the last row may be short. `scale` is a whole factor; None picks one."""
    rows = [pixels[start : start + columns] for start in range(0, len(pixels), columns)]
    return _sheet(rows, columns, [gap] * (len(rows) - 1), scale=scale, gap=gap)


def reconstruction_pairs(
    real: UInt8[np.ndarray, "n h w 3"],
    reconstructed: UInt8[np.ndarray, "n h w 3"],
    columns: int,
    *,
    scale: int | None = None,
    gap: int = GAP,
) -> bytes:
    """Every image directly above its reconstruction; pairs in reading order, wider gaps between their rows."""
    rows: list[np.ndarray] = []
    gaps: list[int] = []
    for start in range(0, len(real), columns):
        rows += [real[start : start + columns], reconstructed[start : start + columns]]
        gaps += [gap // 3, 3 * gap]
    return _sheet(rows, columns, gaps[:-1], scale=scale, gap=gap)


def samples_by_class(
    pixels: UInt8[np.ndarray, "n h w 3"],
    labels: Int[np.ndarray, " n"],
    columns: int,
    *,
    scale: int | None = None,
    gap: int = GAP,
) -> list[ClassRow]:
    """One strip a class, in the order of the labels: its first `columns` samples. The page writes the labels."""
    return [
        ClassRow(int(label), tile(pixels[labels == label][:columns], columns, scale=scale, gap=gap))
        for label in np.unique(labels)
    ]


def denoising_strip(steps: UInt8[np.ndarray, "s n h w 3"], *, scale: int | None = None, gap: int = GAP) -> bytes:
    """One row a sample, its steps from left, noise, to right, image."""
    rows = list(np.swapaxes(steps, 0, 1))
    return _sheet(rows, len(steps), [gap] * (len(rows) - 1), scale=scale, gap=gap)


def data_uri(png: bytes) -> str:
    """The picture itself in place of an address."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _sheet(rows: Sequence[np.ndarray], columns: int, row_gaps: Sequence[int], *, scale: int | None, gap: int) -> bytes:
    """Rows of at most `columns` images (n, h, w, 3), on a transparent ground as wide as full rows are."""
    if not rows or not len(rows[0]):
        raise DataError("contact sheet: expected at least 1 image, got none")
    _, height, width, _ = rows[0].shape
    factor = scale if scale is not None else max(1, -(-CRISP_SIDE // max(height, width)))
    height, width = height * factor, width * factor
    sheet = np.zeros((len(rows) * height + sum(row_gaps), columns * width + (columns - 1) * gap, 4), dtype=np.uint8)
    top = 0
    for row, below in zip(rows, [*row_gaps, 0], strict=True):
        for column, image in enumerate(row):
            left = column * (width + gap)
            place = sheet[top : top + height, left : left + width]
            place[..., :3] = image.repeat(factor, axis=0).repeat(factor, axis=1)
            place[..., 3] = 255
        top += height + below
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG")
    return buffer.getvalue()
