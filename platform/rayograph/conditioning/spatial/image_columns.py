"""Columns of a request that hold image files: checked to the last row, by what their bytes are.

Shapes: n rows, h w pixels.
"""

import io
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from PIL import Image

from rayograph.conditioning.member_columns import WrongRow, check_files, whole
from rayograph.errors import DataError
from rayograph.shards.pixels.decode import render
from rayograph.shards.pixels.frames import Frame
from rayograph.shards.pixels.sizes import upright_size

MOST_SIDE = 8192
"""Pixels a side of an image in a request."""


def check_images(
    column: str, what: str, values: pa.Array | pa.ChunkedArray, read: Callable[[bytes, str], object]
) -> None:
    """Read every different image of a column once. Raises WrongRow for the first that is none, or is too large."""

    def bounded(data: bytes, name: str) -> None:
        width, height = size_of(data, name)
        if max(width, height) > MOST_SIDE:
            raise DataError(f"{name}: expected at most {MOST_SIDE} pixels a side, got {width}×{height}")
        read(data, name)

    check_files(column, what, values, bounded)


def size_of(data: bytes, name: str) -> tuple[int, int]:
    """Width and height, upright, by the file's first bytes. Raises DataError naming it for what is no image."""
    return upright_size(data, lambda: data, name)


def sizes_of(values: pa.Array | pa.ChunkedArray) -> list[tuple[int, int]]:
    """Of each row's image."""
    return [size_of(value.as_py(), "image") for value in whole(values)]


def same_shape(
    column: str,
    values: pa.Array | pa.ChunkedArray,
    sizes: list[tuple[int, int]],
    heights: np.ndarray,
    widths: np.ndarray,
) -> None:
    """Raise WrongRow for the first image that is of another shape than what its row asks for.

    An image of one pixel is of any.
    """
    for row, ((width, height), high, wide) in enumerate(zip(sizes, heights.tolist(), widths.tolist(), strict=True)):
        # 100×60 is shown as 50×30, and to a pixel as 51×30.
        if (width, height) != (1, 1) and abs(width * high - height * wide) > max(width, height, high, wide):
            raise WrongRow(row, column, f"an image of the shape that is drawn, {wide}×{high}", f"{width}×{height}")


def pixels_of(data: bytes, where: str, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8 of the whole image. Raises DataError naming it."""
    return render(data, where, lambda across, down: Frame(0, 0, across, down, (width, height)))


def png_of(pixels: np.ndarray) -> bytes:
    """The same bytes for the same pixels, of any depth."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
