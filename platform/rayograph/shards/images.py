"""Bytes to pixels and back: the one place that opens images.

Shapes: h w pixels; pixels are uint8 RGB, (h, w, 3).
"""

import io

import numpy as np
from PIL import Image, ImageOps

from rayograph.errors import DataError

MAX_PIXELS = 178_956_970
"""Larger images are taken for decompression bombs. It is the bound from which Pillow itself refuses."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""Told by a file's first bytes, whatever its name. Pillow has more readers; the one of EPS starts another program."""


def open_image(data: bytes, name: str) -> Image.Image:
    """The whole decoded image as RGB, upright by its EXIF orientation. Raises DataError naming the sample."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise DataError(f"{name}: expected at most {MAX_PIXELS} pixels, got {image.width}×{image.height}")
        image.load()
        return _rgb(ImageOps.exif_transpose(image))
    except DataError:
        raise
    except Exception as error:  # whatever a foreign file does to a reader, the answer is one line
        raise DataError(f"{name}: expected an image, got {len(data)} bytes that do not decode: {error}") from error


def _rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel; transparency is dropped, and the colour below it stays."""
    if image.mode.startswith("I;16"):  # Pillow would cut off at 255 instead of scaling
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "transparency" in image.info:  # straight to RGB, Pillow warns
        image = image.convert("RGBA")
    return image.convert("RGB")


def to_square(image: Image.Image, size: int) -> Image.Image:
    """Scaled so that the shorter side is `size`, then the middle square cut out."""
    scale = size / min(image.size)
    scaled = (max(size, round(image.width * scale)), max(size, round(image.height * scale)))
    if image.size != scaled:
        image = image.resize(scaled, Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def to_png(image: Image.Image) -> bytes:
    """The same bytes for the same pixels."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def pixels_of(data: bytes, name: str) -> np.ndarray:
    """(h, w, 3) uint8. Raises DataError naming the sample."""
    return np.asarray(open_image(data, name))
