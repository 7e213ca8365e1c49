"""One row of a source, checked and decoded, as the members of a sample: image, caption, class, boxes, mask.

Shapes: w h of the upright source, n boxes.
"""

import io
import json
from collections import Counter
from typing import Any

import numpy as np
from PIL import Image

from rayograph.config import Pack
from rayograph.config.job.stages import background_colour
from rayograph.errors import DataError
from rayograph.ingest.sources.source import Boxes, Row
from rayograph.shards.pixels.decode import Reading, render, resample, to_jpeg, to_png
from rayograph.shards.pixels.frames import Frame, middle_square, shorter_side, whole
from rayograph.shards.pixels.labels import read_labels, shown_labels
from rayograph.shards.pixels.pictures import FORMATS, open_picture, upright
from rayograph.shards.sample import Sample

MASK, MAP, ALPHA = "mask.png", "map.png", "alpha.png"

_KEPT = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
_ORIENTATION = 0x0112  # EXIF's tag; 1 is upright
_PNG_DEPTH = 24  # where a PNG's header says how many bits a channel has


class Framing:
    """The frame of one image, chosen once its size is known, and kept for its boxes and its mask."""

    def __init__(self, declared: Pack, where: str) -> None:
        self._declared, self._where = declared, where
        self.frame = whole(1, 1)
        self.source = (1, 1)

    def __call__(self, width: int, height: int) -> Frame:
        """Raises DataError naming the image where it is smaller than `minimum_size`."""
        least, size = self._declared.minimum_size, self._declared.image_size
        if min(width, height) < least:
            raise DataError(f"{self._where}: expected at least {least} pixels a side, got {width}×{height}")
        self.source = (width, height)
        if size is None:
            self.frame = whole(width, height)
        else:
            fit = middle_square if self._declared.resize == "square" else shorter_side
            self.frame = fit(width, height, size)
        return self.frame


def to_sample(row: Row, declared: Pack, counts: Counter[str] | None = None) -> Sample:
    """The same bytes for the same row; what was done to its image is counted.

    Raises DataError naming the row for anything in it that is damaged or odd.
    """
    framing = Framing(declared, row.place)
    # Also where the bytes stay: they are shown to decode.
    reading = Reading(background_colour(declared.background), declared.tolerate_damage)
    found: set[str] = set()
    pixels = render(row.image, row.place, framing, reading, found)
    kept = _kept_as(row.image) if declared.resize == "none" and not found & {"damaged", "composited"} else None
    if kept is not None:
        members = {kept: row.image}
    elif declared.format == "jpeg":
        members = {"jpg": to_jpeg(pixels, declared.jpeg_quality)}
    else:
        members = {"png": to_png(pixels)}
    if row.label is not None:
        members["cls"] = str(row.label).encode()
    if row.caption is not None:
        members["txt"] = row.caption.encode()
    facts = dict(row.metadata)
    if row.boxes is not None:
        facts |= _boxes(row.boxes, framing.frame)
    if facts:
        members["json"] = json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    if row.mask is not None:
        members[MASK] = _mask(row.mask, framing, row.place)
    if row.map is not None:
        members[MAP] = _mask(row.map, framing, row.place)
    if declared.keep_alpha:
        members[ALPHA] = to_png(_alpha(row.image, framing.frame, row.place))
    members |= row.members
    if counts is not None:
        counts.update(sorted(found))
    return Sample(row.key, members)


def _kept_as(data: bytes) -> str | None:
    """The extension of an image that any reader shows as we would: upright, still, three channels of eight bits."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        image.load()
    except Exception:  # noqa: BLE001 - read by us with what it lacks put right; others would refuse it
        return None
    turned = image.getexif().get(_ORIENTATION, 1) != 1
    if image.mode != "RGB" or turned or getattr(image, "n_frames", 1) != 1 or "transparency" in image.info:
        return None
    if image.format == "PNG" and data[_PNG_DEPTH] != 8:
        return None
    return _KEPT.get(image.format or "")


def _alpha(data: bytes, frame: Frame, where: str) -> np.ndarray:
    """(h, w) uint8: how opaque the frame of an image is; 255 all over where nothing is transparent."""
    picture = open_picture(data, where)
    if picture.alpha is None:
        return np.full(frame.size[::-1], 255, np.uint8)
    turned = upright(picture.alpha, picture.orientation)
    return np.ascontiguousarray(resample(np.repeat(turned[..., None], 3, axis=2), frame)[..., 0])


def _boxes(boxes: Boxes, frame: Frame) -> dict[str, Any]:
    """Fractions of the frame, those outside left out; labels go with their boxes."""
    places = frame.boxes(boxes.places)
    inside = np.flatnonzero((places[:, 2:] > 0).all(axis=1)).tolist()
    found: dict[str, Any] = {"boxes": [[round(float(edge), 6) for edge in places[number]] for number in inside]}
    if boxes.labels is not None:
        found["labels"] = [boxes.labels[number] for number in inside]
    return found


def _mask(data: bytes, framing: Framing, where: str) -> bytes:
    """The frame of a mask, each pixel the class of the nearest one."""
    classes = read_labels(data, where, "a mask")
    height, width = classes.shape
    if (width, height) != framing.source:
        raise DataError(
            f"{where}: expected a mask of {framing.source[0]}×{framing.source[1]} class indices, got {width}×{height}"
        )
    return to_png(shown_labels(classes, framing.frame))
