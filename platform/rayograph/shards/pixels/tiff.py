"""TIFFs of sixteen bits a channel, of which Pillow shows the upper bytes only; and sixteen bits to eight.

Shapes: h w pixels; c channels as they are stored.
"""

import sys
from collections.abc import Callable

import numpy as np
from PIL import Image

_EIGHT = ((np.arange(65536) + 128) // 257).astype(np.uint8)  # v × 255 / 65535 to the nearest
_BITS, _PLANAR = 258, 284
_OTHER = {"L": "B", "B": "L"}


def eight_bits(values: np.ndarray) -> np.ndarray:
    """uint8 as they are, uint16 to the nearest."""
    return values if values.dtype == np.uint8 else _EIGHT[values]


def planes_apart(image: Image.Image) -> bool:
    """Whether Pillow takes sixteen bits for eight: where each colour is stored by itself, without libtiff."""
    tags, tiles = image.tag_v2, image.tile  # type: ignore[attr-defined]
    return tags.get(_PLANAR) == 2 and 16 in tags.get(_BITS, ()) and any(tile.codec_name == "raw" for tile in tiles)


def deep_values(image: Image.Image, again: Callable[[], Image.Image], raw: str) -> np.ndarray:
    """(h, w, c) uint8 of a TIFF whose `raw` layout Pillow calls RGB;16L and the like; `again` opens it once more.

    Read in the other order of bytes, Pillow shows the lower ones. Colours that were multiplied by their alpha become
    what they were.
    """
    layout, _, order = raw.partition(";16")
    order = order if order in _OTHER else {"little": "L", "big": "B"}[sys.byteorder]
    read = "RGBA" if layout == "RGBa" else layout
    upper = np.asarray(image if read == layout else _read_as(again(), f"{read};16{order}")).astype(np.uint16)
    values = upper << 8 | np.asarray(_read_as(again(), f"{read};16{_OTHER[order]}"))
    if layout == "RGBa":
        alpha = values[..., 3:].astype(np.uint32)
        colours = (values[..., :3] * np.uint32(65535) + alpha // 2) // np.maximum(alpha, 1)
        values = np.append(np.minimum(colours, 65535).astype(np.uint16), values[..., 3:], axis=2)
    return eight_bits(values)


def _read_as(image: Image.Image, raw: str) -> Image.Image:
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in image.tile  # type: ignore[attr-defined]
    ]
    return image
