"""An invisible watermark: a few characters hidden in the blue chroma of an image, which JPEG and WebP leave readable.

Its bits lie one after the other, again and again, in the largest singular values of 8 × 8 blocks (invisible-watermark's
`dwtDctSvd`, whose own decoder reads it). The library is optional: pip install 'rayograph[watermark]'. An image of
512 × 512 takes some 70 ms of one core, during which Python's other threads get little done.
"""

from importlib import import_module
from types import ModuleType

import numpy as np

from rayograph.errors import ConfigError, DataError

SMALLEST = 256
"""Pixels of the shorter side; smaller images have too few blocks to be read back from, and get no watermark."""

LONGEST = 4
"""Characters; every further one would leave fewer blocks to each."""

EXTRA = "pip install 'rayograph[watermark]'"

_METHOD, _SCALE = "dwtDctSvd", 36  # the library's own scale, which its decoder goes by
_BLUE = 1  # of Y, U, V


class Watermark:
    """Hides `text`, one to four printable ASCII characters. Raises ConfigError for others, or without the library."""

    def __init__(self, text: str) -> None:
        if not (1 <= len(text) <= LONGEST and text.isascii() and text.isprintable()):
            raise ConfigError(f"marking.watermark: expected 1 to {LONGEST} printable ASCII characters, got {text!r}")
        bits = np.unpackbits(np.frombuffer(text.encode(), np.uint8)).tolist()
        self._embedder = _library("imwatermark.dwtDctSvd").EmbedDwtDctSvd(bits, wmLen=len(bits))

    def hide(self, pixels: np.ndarray) -> np.ndarray:
        """A marked copy of (h, w, 3) uint8 RGB; the very same pixels where the image is too small (`fits`).

        The change is mostly below 8 of 255. Where it meets the end of the scale it is cut off, so an image that is
        white throughout keeps no watermark.
        """
        if not fits(pixels):
            return pixels
        cv2, pywt = _library("cv2"), _library("pywt")
        planes = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2YUV)
        height, width = (side // 4 * 4 for side in pixels.shape[:2])
        chroma = planes[:height, :width, _BLUE]
        # Not the library's own `encode`: it puts horizontal and vertical details together the wrong way round, and
        # lets values beyond 255 begin again at 0.
        coarse, details = pywt.dwt2(chroma, "haar")
        self._embedder.encode_frame(coarse, _SCALE)
        chroma[:] = np.clip(np.rint(pywt.idwt2((coarse, details), "haar")), 0, 255)
        marked: np.ndarray = cv2.cvtColor(planes, cv2.COLOR_YUV2RGB)
        return marked


def fits(pixels: np.ndarray) -> bool:
    """Whether an image gets a watermark: both sides are at least `SMALLEST`."""
    return min(pixels.shape[:2]) >= SMALLEST


def hidden_in(pixels: np.ndarray, length: int) -> bytes:
    """The bytes that a watermark of `length` characters would be; where there is none, any bytes at all.

    Raises DataError for an image too small to have one, ConfigError without the library.
    """
    if not fits(pixels):
        height, width = pixels.shape[:2]
        raise DataError(f"watermark: expected an image of at least {SMALLEST} × {SMALLEST}, got {width} × {height}")
    decoder = _library("imwatermark").WatermarkDecoder("bytes", 8 * length)
    found: bytes = decoder.decode(np.ascontiguousarray(pixels[..., ::-1]), _METHOD)
    return found


def _library(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"marking.watermark: expected invisible-watermark, which is not installed ({error}): {EXTRA}"
        ) from error
