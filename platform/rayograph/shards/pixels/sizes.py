"""How large an image is, told by its first bytes.

Shapes: n samples.
"""

import io
import warnings
from collections.abc import Callable

from PIL import Image

from rayograph.errors import DataError
from rayograph.shards.pixels.pictures import FORMATS, exif_orientation
from rayograph.shards.pixels.signatures import described

HEAD_BYTES = 1 << 15
"""Nearly every file's size stands in as many of its bytes; of the others all are read."""

_ORIENTATION = 0x0112  # EXIF's tag; 1 is upright
_ON_ITS_SIDE = 5  # the orientations from here on exchange width and height


def upright_size(head: bytes, whole: Callable[[], bytes], name: str) -> tuple[int, int]:
    """Return width and height of the upright image. Raises DataError naming the sample for what is no image."""
    try:
        return _size(head)
    except Exception:  # noqa: BLE001 - cut short, for most formats
        pass
    data = whole()
    try:
        return _size(data)
    except Exception as error:  # whatever a foreign file does to a reader, the answer is one line
        raise DataError(f"{name}: expected an image, got {described(data)}") from error


def _size(data: bytes) -> tuple[int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing is decoded here
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    turned = image.getexif().get(_ORIENTATION, 1) if image.format == "TIFF" else None
    orientation = exif_orientation(image.info.get("exif", b"")) if turned is None else turned
    width, height = image.size
    return (height, width) if orientation >= _ON_ITS_SIDE else (width, height)
