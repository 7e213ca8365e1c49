"""Label maps: images whose numbers, grey or of a palette, are classes and no colours. Classes have no between.

Shapes: h w pixels.
"""

import io

import numpy as np
from PIL import Image

from rayograph.errors import DataError
from rayograph.shards.pixels import png
from rayograph.shards.pixels.frames import Frame
from rayograph.shards.pixels.pictures import FORMATS, check_size
from rayograph.shards.pixels.signatures import described

_MODES = ("1", "L", "P", "I;16")


def read_labels(data: bytes, where: str, what: str = "a label map") -> np.ndarray:
    """(h, w) uint8 or uint16: each pixel's number. Raises DataError naming the sample for what is none."""
    try:
        plain = png.read_chunks(data, where).image if data.startswith(png.SIGNATURE) else data
        image = Image.open(io.BytesIO(plain), formats=FORMATS)
        check_size(*image.size, where)
        image.load()
    except DataError:
        raise
    except Exception as error:  # whatever a foreign file does to a reader, the answer is one line
        raise DataError(f"{where}: expected {what}, got {described(data)}") from error
    if image.mode not in _MODES:
        raise DataError(
            f"{where}: expected {what} in grey or of a palette, got {image.width}×{image.height} of mode {image.mode}"
        )
    labels = np.asarray(image)
    return labels if labels.dtype == np.uint16 else labels.astype(np.uint8)


def shown_labels(labels: np.ndarray, frame: Frame) -> np.ndarray:
    """The frame of a label map (h, w, …), each pixel the number of the nearest one."""
    rows = frame.top + _nearest(frame.height, frame.size[1])
    columns = frame.left + _nearest(frame.width, frame.size[0])
    found = labels[np.ix_(rows, columns)]
    return found[:, ::-1] if frame.flip else found


def _nearest(length: int, size: int) -> np.ndarray:
    """For each of `size` pixels the one of `length` under its middle."""
    return ((np.arange(size) + 0.5) * length / size).astype(np.int64)
