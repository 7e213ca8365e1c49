"""Bytes to pixels and back: the one place that opens images.

JPEGs go through libjpeg-turbo, at a half, a quarter or an eighth of their size where that is all that is wanted; all
else, and whatever is odd about a JPEG, through Pillow. Scaling is bicubic with antialiasing, which is within rounding
of Pillow's own and several times as fast.

Shapes: h w pixels; pixels are uint8 RGB, (h, w, 3).
"""

import io
from collections.abc import Callable

import numpy as np
import simplejpeg
import torch
from PIL import Image, ImageOps

from rayograph.errors import DataError
from rayograph.shards.frames import Frame, whole

MAX_PIXELS = 178_956_970
"""Larger images are taken for decompression bombs. It is the bound from which Pillow itself refuses."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Told by a file's first bytes, whatever its name. Pillow has more readers; the one of EPS starts another program."""

IMAGE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".webp"),
    *(".jpe", ".jfif", ".apng", ".avif", ".gif", ".bmp", ".tif", ".tiff"),
)
"""How the names of files that may be images end, in lower case."""

EXTENSIONS = tuple(extension[1:] for extension in IMAGE_EXTENSIONS)
"""Of the members that hold a sample's image, in lower case; the first that is there counts."""

_HEADER_BYTES = 65_536
_DIVISORS = (8, 4, 2)  # libjpeg-turbo has fast transforms for these; between them a full decode is faster


def render(data: bytes, name: str, choose: Callable[[int, int], Frame] = whole) -> np.ndarray:
    """The pixels of the frame that `choose(width, height)` asks for, upright by the EXIF orientation.

    Raises DataError naming the sample for what is no image, is damaged, or is larger than `MAX_PIXELS`.
    """
    size = _plain_jpeg(data)
    if size is not None:
        check_size(*size, name)
        frame = choose(*size)
        divisor = next(
            (d for d in _DIVISORS if frame.width // d >= frame.size[0] and frame.height // d >= frame.size[1]), 1
        )
        try:
            least = (-(-size[0] // divisor), -(-size[1] // divisor)) if divisor > 1 else (0, 0)
            pixels = simplejpeg.decode_jpeg(data, min_width=least[0], min_height=least[1], min_factor=1, strict=True)
            return resample(pixels, frame.shrunk(divisor))
        except ValueError:
            pass  # Pillow decides whether it is damaged, and says how
    image = open_image(data, name)
    return resample(np.asarray(image), choose(*image.size))


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
    scale(_planes(part.copy()), [height, width], align_corners=False, out=_planes(scaled))
    return scaled


def open_image(data: bytes, name: str) -> Image.Image:
    """The whole decoded image as RGB, upright by its EXIF orientation. Raises DataError naming the sample."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        check_size(*image.size, name)
        image.load()
        return _rgb(ImageOps.exif_transpose(image))
    except DataError:
        raise
    except Exception as error:  # whatever a foreign file does to a reader, the answer is one line
        raise DataError(f"{name}: expected an image, got {len(data)} bytes that do not decode: {error}") from error


def check_size(width: int, height: int, name: str) -> None:
    """Raises DataError naming the sample for an image too large to be decoded."""
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: expected at most {MAX_PIXELS} pixels, got {width}×{height}")


def to_png(pixels: np.ndarray) -> bytes:
    """The same bytes for the same pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def to_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Without colour subsampling, which small images show."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality, colorsubsampling="444")


def _planes(pixels: np.ndarray) -> torch.Tensor:
    """(1, 3, h, w) over the same memory."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def _plain_jpeg(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a JPEG that libjpeg-turbo decodes upright to RGB by itself; None for all else."""
    if data[:2] != b"\xff\xd8":
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if colours not in ("YCbCr", "Gray", "RGB") or b"Exif\0\0" in data[:_HEADER_BYTES]:
        return None
    return width, height


def _rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel; transparency is dropped, and the colour below it stays."""
    if image.mode.startswith("I;16"):  # Pillow would cut off at 255 instead of scaling
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "transparency" in image.info:  # straight to RGB, Pillow warns
        image = image.convert("RGBA")
    return image.convert("RGB")
