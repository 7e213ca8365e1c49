"""Bytes to pixels and back: the one place that opens images.

JPEGs go through libjpeg-turbo (jpeg.py), at a half, a quarter or an eighth of their size where that is all that is
wanted; all else, and whatever is odd about a JPEG, through Pillow (pictures.py). What comes is upright, in sRGB, and
laid over a background where it is transparent. Scaling is bicubic with antialiasing, which is within rounding of
Pillow's own and several times as fast.

Shapes: h w pixels; pixels are uint8 RGB, (h, w, 3).
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
import torch
from PIL import Image

from rayograph.errors import DataError
from rayograph.shards.pixels import jpeg
from rayograph.shards.pixels.colour import adobe_rgb, to_srgb
from rayograph.shards.pixels.exif import exif_orientation, says_adobe_rgb
from rayograph.shards.pixels.frames import Frame, whole
from rayograph.shards.pixels.pictures import check_size, open_picture, upright

IMAGE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".webp"),
    *(".jpe", ".jfif", ".apng", ".avif", ".gif", ".bmp", ".tif", ".tiff"),
)
"""How the names of files that may be images end, in lower case."""

EXTENSIONS = tuple(extension[1:] for extension in IMAGE_EXTENSIONS)
"""Of the members that hold a sample's image, in lower case; the first that is there counts."""

_DIVISORS = (8, 4, 2)  # libjpeg-turbo has fast transforms for these; between them a full decode is faster


@dataclass(frozen=True)
class Reading:
    """How images are read: over which background, and whether damaged JPEGs are taken as far as they go."""

    background: tuple[int, int, int] = (255, 255, 255)
    tolerate_damage: bool = False


def render(
    data: bytes,
    name: str,
    choose: Callable[[int, int], Frame] = whole,
    reading: Reading = Reading(),
    found: set[str] | None = None,
) -> np.ndarray:
    """The pixels of the frame that `choose(width, height)` asks for, upright by the EXIF orientation, in sRGB.

    Adds to `found` what was done beyond decoding: `converted`, `profile_ignored`, `composited`, `damaged`, `animated`,
    `adobe_by_exif`.
    Raises DataError naming the sample for what is no image, is damaged, or is or would become larger than `MAX_PIXELS`.
    """
    found = set() if found is None else found
    header = jpeg.read_header(data) if data.startswith(jpeg.START) else None
    if header is not None and len(header.components) in (1, 3, 4):
        try:
            return _rendered(data, header, name, choose, reading, found)
        except jpeg.CannotReadError:
            data = _whole(data, header, name, reading, found)
    picture = open_picture(data, name)
    if picture.animated:
        found.add("animated")
    if picture.adobe_by_exif:
        found.add("adobe_by_exif")
    pixels = to_srgb(picture.pixels, picture.profile, found)
    if picture.alpha is not None and picture.alpha.min(initial=255) < 255:
        pixels = _over(pixels, picture.alpha, reading.background)
        found.add("composited")
    frame = _framed(choose, *_upright_size(pixels.shape[1], pixels.shape[0], picture.orientation), name)
    return _shown(pixels, picture.orientation, frame)


def _whole(data: bytes, header: jpeg.Header, name: str, reading: Reading, found: set[str]) -> bytes:
    """A JPEG that is left to Pillow, which takes what never came for grey and says nothing.

    Its image is whole where it does not depend on what would follow. Raises DataError naming the sample.
    """
    longer = jpeg.go_on(data, header)
    if data.find(jpeg.END, header.scan) < 0:
        data += jpeg.END
    if np.array_equal(open_picture(data, name).pixels, open_picture(longer, name).pixels):
        return data
    if not reading.tolerate_damage:
        raise DataError(f"{name}: expected an image, got {len(data)} bytes of a corrupt JPEG: premature end of data")
    found.add("damaged")
    return data


def _rendered(
    data: bytes,
    header: jpeg.Header,
    name: str,
    choose: Callable[[int, int], Frame],
    reading: Reading,
    found: set[str],
) -> np.ndarray:
    check_size(header.width, header.height, name)
    orientation = exif_orientation(header.exif)
    frame = _framed(choose, *_upright_size(header.width, header.height, orientation), name)
    divisor = next(
        (d for d in _DIVISORS if frame.width // d >= frame.size[0] and frame.height // d >= frame.size[1]), 1
    )
    pixels = jpeg.decode(data, header, divisor, name, reading.tolerate_damage, found)
    profile = header.profile
    if profile is None and pixels.shape[2] == 3 and says_adobe_rgb(header.exif):
        profile = adobe_rgb()
        found.add("adobe_by_exif")
    if profile is not None or pixels.shape[2] == 4:
        pixels = to_srgb(pixels[..., :1] if len(header.components) == 1 else pixels, profile, found)
    return _shown(pixels, orientation, frame.shrunk(divisor))


def _upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    return (height, width) if orientation >= 5 else (width, height)


def _shown(pixels: np.ndarray, orientation: int, frame: Frame) -> np.ndarray:
    """The frame of an image as it lies in its file. It is turned once it is small."""
    if orientation == 1:
        return resample(pixels, frame)
    turned = upright(resample(pixels, frame.stored(orientation, *pixels.shape[1::-1])), orientation)
    return _packed(turned[:, ::-1] if frame.flip else turned)


def _framed(choose: Callable[[int, int], Frame], width: int, height: int, name: str) -> Frame:
    frame = choose(width, height)
    check_size(*frame.size, f"{name}: {width}×{height} at the size asked for")
    return frame


def _over(pixels: np.ndarray, alpha: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """What covers a background as far as it is opaque: plain blending of sRGB's numbers, to the nearest."""
    blended = np.empty_like(pixels)
    for row in range(0, len(pixels), 256):
        part = slice(row, row + 256)
        cover = alpha[part, :, None].astype(np.uint32)
        ground = np.array(background, np.uint32)
        blended[part] = (pixels[part] * cover + ground * (255 - cover) + 127) // 255
    return blended


def resample(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    """The frame of (h, w, 3) uint8: cut out, scaled and mirrored."""
    part = pixels[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
    if frame.flip:
        part = part[:, ::-1]
    if part.shape[1::-1] == frame.size:
        return part
    width, height = frame.size
    scaled = np.empty((height, width, 3), np.uint8)
    # What interpolate(mode="bicubic", antialias=True) calls. It would give colour by colour, and putting that pixel by
    # pixel again takes as long as the scaling; into memory of ours it writes it so at once.
    scale = torch.ops.aten._upsample_bicubic2d_aa.out
    scale(_planes(_packed(part)), [height, width], align_corners=False, out=_planes(scaled))
    return scaled


def open_image(data: bytes, name: str) -> Image.Image:
    """The whole decoded image as RGB, as `render` gives it. Raises DataError naming the sample."""
    return Image.fromarray(np.ascontiguousarray(render(data, name)))


def to_png(pixels: np.ndarray) -> bytes:
    """The same bytes for the same pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def to_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Without colour subsampling, which small images show."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality, colorsubsampling="444")


def _packed(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) in memory of their own. Mirrored or turned pixels are copied as one value each, twice as fast."""
    if pixels.strides[1] == 3:
        return pixels.copy()
    return pixels.view("V3").copy("C").view(np.uint8).reshape(pixels.shape)


def _planes(pixels: np.ndarray) -> torch.Tensor:
    """(1, 3, h, w) over the same memory."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]
