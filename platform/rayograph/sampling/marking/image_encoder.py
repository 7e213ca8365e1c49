"""Pixels to files: PNG, JPEG and WebP with their XMP within, the same bytes for the same pixels and packet.

All three encoders are C and let other threads run meanwhile. Shapes: h w pixels.
"""

import io

import numpy as np
from PIL import Image

from rayograph.config import ImageFile
from rayograph.sampling.marking.xmp import into_jpeg, into_png
from rayograph.shards.pixels.decode import to_jpeg, to_png

QUALITY = 95
"""Of JPEG and WebP that say none."""


def encode(pixels: np.ndarray, image: ImageFile, packet: bytes) -> bytes:
    """The file of (h, w, 3) uint8 RGB, holding the XMP `packet` (provenance.xmp_packet)."""
    quality = QUALITY if image.quality is None else image.quality
    match image.kind:
        case "png":
            return into_png(to_png(pixels), packet)
        case "jpeg":
            return into_jpeg(to_jpeg(pixels, quality), packet)
        case "webp":
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, xmp=packet)
            return buffer.getvalue()
