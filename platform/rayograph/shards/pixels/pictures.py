"""Files other than plain JPEGs to channels of eight bits, by Pillow: colours, what covers them, and which way is up.

Shapes: h w pixels; c channels: 1 grey, 3 RGB, 4 CMYK (0 is no ink).
"""

import io
import re
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from rayograph.errors import DataError
from rayograph.shards.pixels import png
from rayograph.shards.pixels.colour import adobe_rgb, coded_profile, measured_profile
from rayograph.shards.pixels.exif import exif_orientation, says_adobe_rgb
from rayograph.shards.pixels.signatures import described
from rayograph.shards.pixels.tiff import deep_values, eight_bits, planes_apart

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Told by a file's first bytes, whatever its name. Pillow has more readers; the one of EPS starts another program."""

MAX_PIXELS = 178_956_970
"""Larger images are taken for decompression bombs. It is the bound from which Pillow itself refuses."""

MAX_ANIMATED_PIXELS = 1 << 25
"""Of an animation, of which decoders hold several canvases at once."""

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_MIN_IS_WHITE, _PHOTOMETRIC = 0, 262


@dataclass
class Picture:
    """(h, w, c) as it is stored, (h, w) alpha if there is any, its ICC profile, and the EXIF orientation."""

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    orientation: int = 1
    animated: bool = False
    adobe_by_exif: bool = False
    """Whether it was EXIF that named Adobe RGB, in place of a profile."""


def open_picture(data: bytes, name: str) -> Picture:
    """Raises DataError naming the sample for what is no image, is damaged, or is too large."""
    try:
        return _from_png(data, name) if data.startswith(png.SIGNATURE) else _from_pillow(data, name)
    except DataError:
        raise
    except Exception as error:  # whatever a foreign file does to a reader, the answer is one line
        what = described(data)
        reason = f"{what}: {_ADDRESS.sub('', str(error))}" if what.endswith("do not decode") else what
        raise DataError(f"{name}: expected an image, got {reason}") from error


def check_size(width: int, height: int, name: str, most: int = MAX_PIXELS) -> None:
    """Raises DataError naming the sample for an image too large to be decoded, or to be made."""
    if width * height > most:
        raise DataError(f"{name}: expected at most {most} pixels, got {width}×{height}")


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(h, w, ...) turned and mirrored as an EXIF orientation asks; the same memory."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _opened(data: bytes, name: str) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    animated = image.format in ("GIF", "WEBP", "AVIF") and getattr(image, "is_animated", False)
    check_size(*image.size, name, MAX_ANIMATED_PIXELS if animated else MAX_PIXELS)
    return image


def _from_png(data: bytes, name: str) -> Picture:
    chunks = png.read_chunks(data, name)
    check_size(chunks.width, chunks.height, name)
    if not chunks.holds_its_image:
        raise DataError(f"{name}: expected an image, got {len(data)} bytes of a corrupt PNG: premature end of data")
    image = _opened(chunks.image, name)
    picture = Picture(np.empty((0, 0, 3), np.uint8))
    clear = chunks.found.get(b"tRNS")
    if chunks.colour_type == 3:
        image.load()
        colours = np.zeros((256, 3), np.uint8)
        given = np.frombuffer(chunks.found.get(b"PLTE", b""), np.uint8)[:768]
        colours[: len(given) // 3] = given[: len(given) // 3 * 3].reshape(-1, 3)
        numbers = np.asarray(image)
        picture.pixels = colours[numbers]
        if clear is not None:
            covers = np.full(256, 255, np.uint8)
            covers[: len(clear)] = np.frombuffer(clear, np.uint8)[:256]
            picture.alpha = covers[numbers]
    else:
        values = _deep_png(chunks, image, name) if chunks.depth == 16 else _values(image)
        colours_of = 3 if chunks.colour_type in (2, 6) else 1
        if chunks.colour_type in (4, 6):
            picture.alpha = eight_bits(values[..., colours_of])
        elif clear is not None and len(clear) >= 2 * colours_of:
            key = np.frombuffer(clear, ">u2")[:colours_of].astype(np.uint32)
            if chunks.depth < 8:
                key = key * 255 // ((1 << chunks.depth) - 1)
            picture.alpha = np.where((values == key).all(axis=2), 0, 255).astype(np.uint8)
        picture.pixels = eight_bits(values[..., :colours_of])
    picture.profile = _png_profile(chunks, name)
    picture.orientation = exif_orientation(chunks.found.get(b"eXIf", b""))
    picture.animated = b"acTL" in chunks.found
    return picture


def _png_profile(chunks: png.Chunks, name: str) -> bytes | None:
    """By the order that PNG gives: cICP, iCCP, sRGB, and gAMA with cHRM."""
    coded = chunks.found.get(b"cICP")
    if coded is not None and len(coded) == 4:
        return coded_profile(coded[0], coded[1], name)
    if chunks.profile is not None:
        return chunks.profile
    gamma, primaries = chunks.found.get(b"gAMA", b""), chunks.found.get(b"cHRM", b"")
    if b"sRGB" in chunks.found or (len(gamma) != 4 and len(primaries) != 32):
        return None
    try:
        exponent = 1e5 / struct.unpack(">I", gamma)[0] if len(gamma) == 4 else None
        points = tuple(value / 1e5 for value in struct.unpack(">8I", primaries)) if len(primaries) == 32 else None
        return measured_profile(exponent, points)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        return b"unusable"


def _deep_png(chunks: png.Chunks, image: Image.Image, name: str) -> np.ndarray:
    """(h, w, c) uint16. Pillow shows the upper bytes only; read in the other order, the lower ones."""
    if chunks.colour_type == 0:
        return np.asarray(image).astype(np.uint16)[..., None]
    if chunks.colour_type == 4:  # two of sixteen bits, read as four of eight
        bytes_of = _raw(image, "RGBA", "RGBA").astype(np.uint16)
        return bytes_of[..., ::2] << 8 | bytes_of[..., 1::2]
    mode = "RGB" if chunks.colour_type == 2 else "RGBA"
    upper = _raw(image, mode, f"{mode};16B").astype(np.uint16)
    return upper << 8 | _raw(_opened(chunks.image, name), mode, f"{mode};16L")


def _raw(image: Image.Image, mode: str, raw: str) -> np.ndarray:
    args = image.tile[0].args  # type: ignore[attr-defined]
    image.tile = [image.tile[0]._replace(args=(raw, *args[1:]) if isinstance(args, tuple) else raw)]  # type: ignore[attr-defined]
    image._mode = mode
    return np.asarray(image)


def _values(image: Image.Image) -> np.ndarray:
    """(h, w, c) of eight bits a channel, as Pillow has them."""
    array = np.asarray(image.convert("L") if image.mode == "1" else image)
    return array if array.ndim == 3 else array[..., None]


def _from_pillow(data: bytes, name: str) -> Picture:
    image = _opened(data, name)
    picture = Picture(np.empty((0, 0, 3), np.uint8))
    picture.animated = bool(getattr(image, "is_animated", False)) and image.format not in ("MPO", "JPEG")
    raw = image.tile[0].args if image.format == "TIFF" and image.tile else None  # type: ignore[attr-defined]
    raw = raw[0] if isinstance(raw, tuple) else raw
    if image.format == "TIFF" and planes_apart(image):
        raise DataError(f"{name}: expected a TIFF of pixels, got planes of 16 bits apart that are not compressed")
    photometric = image.tag_v2.get(_PHOTOMETRIC) if image.format == "TIFF" else None  # type: ignore[attr-defined]
    profile = image.info.get("icc_profile")
    image.load()
    picture.profile = profile or (_coded_avif(data, name) if image.format == "AVIF" else None)
    exif = image.info.get("exif", b"") if image.format not in ("TIFF", "GIF", "BMP") else b""
    picture.orientation = exif_orientation(exif)  # Pillow turns TIFFs by itself
    if picture.profile is None and image.mode == "RGB" and says_adobe_rgb(exif):
        picture.profile, picture.adobe_by_exif = adobe_rgb(), True
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)[..., None]
        picture.pixels = eight_bits(65535 - values if photometric == _MIN_IS_WHITE else values)
        return picture
    if isinstance(raw, str) and ";16" in raw:
        values = deep_values(image, lambda: _opened(data, name), raw)
    elif image.mode in ("P", "PA") or "transparency" in image.info:
        values = np.asarray(image.convert("RGBA"))
    elif image.mode in ("1", "L", "LA", "RGB", "RGBA", "CMYK"):
        values = _values(image)
    elif image.mode in ("RGBX", "YCbCr"):
        values = np.asarray(image.convert("RGB"))
    elif image.mode in ("La", "RGBa"):
        values = np.asarray(image.convert("LA" if image.mode == "La" else "RGBA"))
    else:
        raise DataError(f"{name}: expected 8 or 16 bits a channel, got a {image.format} of mode {image.mode}")
    channels = values.shape[2]
    if channels == 2 or (channels == 4 and image.mode != "CMYK"):
        picture.pixels, picture.alpha = values[..., :-1], values[..., -1]
    else:
        picture.pixels = values
    return picture


def _coded_avif(data: bytes, name: str) -> bytes | None:
    at = data.find(b"colrnclx")
    if at < 0 or at + 12 > len(data):
        return None
    primaries, curve = struct.unpack_from(">HH", data, at + 8)
    return coded_profile(primaries, curve, name)
