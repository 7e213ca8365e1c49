"""Whether an image that was drawn again is the one that was kept."""

import base64
import io

import numpy as np
from PIL import Image

from rayograph.api.images import StoredImage
from rayograph.api.schemas import Answer, Record


class Reproduction(Answer):
    """`image` is the new file, base64. Signed files hold the time, so that only their pixels are the same."""

    number: int
    same_pixels: bool
    same_file: bool
    different_pixels: int
    largest_difference: int
    """Of 255, over all channels."""
    media_type: str
    image: str
    record: Record


def compare(number: int, kept: StoredImage, drawn: bytes, record: Record) -> Reproduction:
    """Compare both files as a viewer decodes them, pixel by pixel."""
    one, other = _pixels(kept.data), _pixels(drawn)
    if one.shape == other.shape:
        difference = np.abs(one - other).max(axis=2)
        differing, largest = int((difference > 0).sum()), int(difference.max())
    else:
        differing, largest = one.shape[0] * one.shape[1], 255
    return Reproduction(
        number=number,
        same_pixels=differing == 0,
        same_file=kept.data == drawn,
        different_pixels=differing,
        largest_difference=largest,
        media_type=kept.media_type,
        image=base64.b64encode(drawn).decode(),
        record=record,
    )


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)
