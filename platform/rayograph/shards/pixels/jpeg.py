"""JPEG files: what their headers say, and their pixels by libjpeg-turbo, which says what is damaged.

Shapes: h w pixels; c channels: 3 RGB, 4 CMYK.
"""

import re
import struct
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import simplejpeg

from rayograph.errors import DataError

START, END = b"\xff\xd8", b"\xff\xd9"
_SCAN = b"\xff\xda"
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xCA}
_ARITHMETIC = range(0xC9, 0xD0)
_MOST_SCANS = 500
"""Each scan of a progressive file goes over the whole image: more of them are an attack."""

_CANNOT = re.compile("Could not determine subsampling|[Uu]nsupported|not implemented|not supported|Sorry")
"""What libjpeg-turbo says of a file that it cannot read through simplejpeg; all else that it says is damage."""


class CannotReadError(Exception):
    """A JPEG that is left to another decoder."""


class _Options(TypedDict):
    """Of simplejpeg: the least size that will do, in pixels."""

    colorspace: str
    min_width: int
    min_height: int


@dataclass
class Header:
    """What stands before the first scan. `scan` is where that begins."""

    width: int = 0
    height: int = 0
    frame: int = 0
    components: list[int] = field(default_factory=list)
    scan: int = 0
    exif: bytes = b""
    profile: bytes | None = None
    patches: dict[int, int] = field(default_factory=dict)
    """Bytes at which the decoder warns though no pixel depends on them, and what it takes for them."""


def read_header(data: bytes) -> Header | None:
    """None where the segments do not lead to a scan."""
    header, at = Header(), 2
    parts: dict[int, bytes] = {}
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes
            at += 1
            continue
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + size]
        if marker in _FRAMES and len(body) >= 6:
            header.frame = marker
            header.height, header.width = struct.unpack(">HH", body[1:5])
            header.components = list(body[6::3])
        elif marker == 0xE1 and body.startswith(b"Exif\0\0") and not header.exif:
            header.exif = body[6:]
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            parts[body[12]] = body[13:]
        elif marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) > 5 and body[5] > 1:
            header.patches[at + 9] = 1
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12 and body[11] > 2:
            header.patches[at + 15] = 1 if len(header.components) != 4 else 2
        elif marker == 0xDA:
            header.scan = at
            if header.frame in (0xC0, 0xC1) and size >= 6:
                header.patches |= dict(zip(range(at + size - 1, at + size + 2), (0, 63, 0), strict=True))
            if parts:
                whole = sorted(parts) == list(range(1, parts[min(parts)][0] + 1))
                header.profile = b"".join(parts[number][1:] for number in sorted(parts)) if whole else b"incomplete"
            return header if header.components and header.width and header.height else None
        elif marker == 0xD9 or size < 2:
            return None
        at += 2 + size
    return None


def decode(data: bytes, header: Header, divisor: int, name: str, tolerate: bool, found: set[str]) -> np.ndarray:
    """(h, w, c) uint8 at 1/divisor of its size, ink as 0 for none.

    Files that lack no more than their end mark are whole. Others, all that libjpeg-turbo calls corrupt, raise DataError
    naming the sample, or with `tolerate` add `damaged` to what was found. Raises CannotReadError for what it has no
    words for.
    """
    damage = _impossible(data, header)
    least = (-(-header.width // divisor), -(-header.height // divisor)) if divisor > 1 else (0, 0)
    options: _Options = {
        "colorspace": "CMYK" if len(header.components) == 4 else "rgb",
        "min_width": least[0],
        "min_height": least[1],
    }
    pixels: Any = None
    if damage is None:
        try:
            pixels = simplejpeg.decode_jpeg(data, strict=True, **options)
            damage = _missing_scans(data, header, ended=True)
        except ValueError as error:
            pixels, damage = _mended(data, header, options, str(error))
    if damage is not None:
        if _CANNOT.search(damage):
            raise CannotReadError(damage)
        if not tolerate or damage.startswith("expected"):
            raise DataError(f"{name}: expected an image, got {len(data)} bytes of a corrupt JPEG: {damage}")
        try:
            pixels = simplejpeg.decode_jpeg(data, strict=False, **options)
        except ValueError as error:
            raise DataError(
                f"{name}: expected an image, got {len(data)} bytes of a corrupt JPEG: {_reason(str(error))}"
            ) from error
        found.add("damaged")
    return 255 - pixels if len(header.components) == 4 else pixels


def _mended(data: bytes, header: Header, options: _Options, said: str) -> tuple[np.ndarray | None, str | None]:
    """The pixels of a file with what no pixel depends on put right: padding, the end mark, odd versions."""
    if _CANNOT.search(said):
        return None, said
    end = data.find(END, header.scan)
    whole = bytearray(data[: end if end >= 0 else len(data)].rstrip(b"\0"))
    if whole.endswith(b"\xff"):
        whole += b"\0"
    for at, value in header.patches.items():
        whole[at : at + 1] = bytes([value])
    whole += END
    try:
        pixels = simplejpeg.decode_jpeg(bytes(whole), strict=True, **options)
    except ValueError as error:
        return None, _reason(str(error))
    return pixels, _missing_scans(bytes(whole), header, ended=end >= 0)


def _impossible(data: bytes, header: Header) -> str | None:
    """Why the file cannot hold its image: each block of 8×8 takes a bit at least, unless its codes are arithmetic."""
    if header.frame not in _ARITHMETIC and header.width * header.height > 512 * (len(data) + 64):
        return "premature end of data"
    if header.frame in _PROGRESSIVE and data.count(_SCAN, header.scan) > _MOST_SCANS:
        return f"expected at most {_MOST_SCANS} scans, got {data.count(_SCAN, header.scan)}"
    return None


def go_on(data: bytes, header: Header) -> bytes:
    """The file with more codes of no meaning where its scan ends: a decoder that is through does not read them.

    Restart marks stand among them, for one that would look for the next.
    """
    end = data.find(END, header.scan)
    scan = data[header.scan : end if end >= 0 else len(data)].rstrip(b"\xff")
    marks = [scan.rfind(bytes((0xFF, 0xD0 + number))) for number in range(8)]
    first = marks.index(max(marks)) + 1 if max(marks) >= 0 else 0
    codes = np.random.default_rng(0).integers(0, 255, (9, 509), np.uint8)  # 255 would begin a mark
    more = b"".join(part.tobytes() + bytes((0xFF, 0xD0 + (first + n) % 8)) for n, part in enumerate(codes))
    return data[: header.scan] + scan + more + END


def _missing_scans(data: bytes, header: Header, ended: bool) -> str | None:
    """Why a file of several scans is not whole: libjpeg-turbo takes what never came for zeros, and says nothing."""
    try:
        return _scans_left(data, header, ended)
    except (IndexError, ValueError):  # of a header that ends before what it promises
        return "its headers contradict each other"


def _scans_left(data: bytes, header: Header, ended: bool) -> str | None:
    one = len(header.components) == data[header.scan + 4]
    if one and header.frame not in _PROGRESSIVE:
        return None
    last, at = data.find(END, header.scan), header.scan
    sent: dict[int, list[int]] = {}
    while 0 <= at < last:
        count = data[at + 4]
        first, final, approximation = data[at + 5 + 2 * count : at + 8 + 2 * count]
        for number in range(count):
            bits = sent.setdefault(data[at + 5 + 2 * number], [99] * 64)
            for coefficient in range(first, min(final, 63) + 1):
                bits[coefficient] = approximation & 15
        at = data.find(_SCAN, at + 2)
    if header.frame not in _PROGRESSIVE:
        return None if all(part in sent for part in header.components) else "premature end of data (a scan is missing)"
    if all(part in sent and not any(sent[part]) for part in header.components):
        return None
    return "premature end of data (scans are missing)" if not ended else "scans are missing"


def _reason(said: str) -> str:
    """The decoder's words, without what they all begin with."""
    said = said.removeprefix("Corrupt JPEG data: ")
    return "premature end of data" if said == "Premature end of JPEG file" else said
