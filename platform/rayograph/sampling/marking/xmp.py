"""Where XMP lies in an image file: an iTXt chunk of a PNG, an APP1 segment of a JPEG, a chunk of a WebP.

Files are walked by their lengths, never decoded, so a packet is found in microseconds and pixels stay as they are.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

from rayograph.errors import DataError

PNG, JPEG, RIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF"
LONGEST_IN_JPEG = 65_502
"""Bytes: what is left of a segment's 65,535 by its length and XMP's signature."""

_PNG_KEYWORD, _JPEG_SIGNATURE = b"XML:com.adobe.xmp\0", b"http://ns.adobe.com/xap/1.0/\0"
_LONGEST_INFLATED = 16 * 2**20  # bytes; what inflates to more is a bomb
_APP0, _APP1, _START_OF_SCAN, _END_OF_IMAGE = 0xE0, 0xE1, 0xDA, 0xD9
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}


def packets_in(data: bytes, name: str) -> Iterator[bytes]:
    """Every XMP packet of a file, in its order, read only as far as they are asked for.

    Raises DataError naming the file, for what is no PNG, JPEG or WebP, or breaks off before its end.
    """
    if data.startswith(PNG):
        yield from _in_png(data, name)
    elif data.startswith(JPEG):
        yield from _in_jpeg(data, name)
    elif data.startswith(RIFF) and data[8:12] == b"WEBP":
        end = 8 + int.from_bytes(data[4:8], "little")  # what stands behind is no part of the image
        for kind, start, length in _chunks(data[:end], 12, "<4sI", name):
            if kind == b"XMP ":
                yield data[start : start + length]
    else:
        raise DataError(f"{name}: expected a PNG, JPEG or WebP image, got {len(data)} bytes, first {data[:12]!r}")


def into_png(png: bytes, packet: bytes) -> bytes:
    """With the packet as its first chunk after the header."""
    text = b"iTXt" + _PNG_KEYWORD + b"\0\0\0\0" + packet  # not compressed; no language, no translated keyword
    header = len(PNG) + 12 + 13
    return png[:header] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + png[header:]


def into_jpeg(jpeg: bytes, packet: bytes) -> bytes:
    """With the packet behind the JFIF header, which some readers only know at the very beginning."""
    at = 4 + struct.unpack_from(">H", jpeg, 4)[0] if jpeg[3] == _APP0 else 2
    body = _JPEG_SIGNATURE + packet
    return jpeg[:at] + struct.pack(">BBH", 0xFF, _APP1, len(body) + 2) + body + jpeg[at:]


def _in_png(data: bytes, name: str) -> Iterator[bytes]:
    for kind, start, length in _chunks(data, len(PNG), ">I4s", name):
        body = data[start : start + length]
        if kind != b"iTXt" or not body.startswith(_PNG_KEYWORD):
            continue
        if data[start + length : start + length + 4] != struct.pack(">I", zlib.crc32(kind + body)):
            raise DataError(f"{name}: damaged: the chunk of XMP at byte {start} does not match its checksum")
        flags, rest = body[len(_PNG_KEYWORD) :][:2], body[len(_PNG_KEYWORD) + 2 :]
        packet = rest.split(b"\0", 2)[-1]
        yield _inflated(packet, name) if flags[:1] == b"\1" else packet


def _in_jpeg(data: bytes, name: str) -> Iterator[bytes]:
    at = len(JPEG)
    while True:
        while data[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if len(data) < at + 2 or data[at] != 0xFF:
            raise DataError(f"{name}: damaged: expected a JPEG segment at byte {at} of {len(data)}")
        marker = data[at + 1]
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        at += 2
        if marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            raise DataError(f"{name}: damaged: a JPEG segment of {length} bytes at byte {at} of {len(data)}")
        body = data[at + 2 : at + length]
        if marker == _APP1 and body.startswith(_JPEG_SIGNATURE):
            yield body[len(_JPEG_SIGNATURE) :]
        at += length


def _chunks(data: bytes, at: int, header: str, name: str) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, length) of each chunk's body. PNG writes length, kind, body, checksum; RIFF kind, length, body."""
    png = header == ">I4s"
    while at < len(data):
        with suppress(struct.error):
            first, second = struct.unpack_from(header, data, at)
            kind, length = (second, first) if png else (first, second)
            if at + 8 + length + (4 if png else 0) <= len(data):
                yield kind, at + 8, length
                if kind == b"IEND":
                    return
                at += 12 + length if png else 8 + length + length % 2
                continue
        raise DataError(f"{name}: damaged: the file breaks off in the chunk at byte {at} of {len(data)}")


def _inflated(packet: bytes, name: str) -> bytes:
    inflating = zlib.decompressobj()
    try:
        found = inflating.decompress(packet, _LONGEST_INFLATED)
    except zlib.error as error:
        raise DataError(f"{name}: damaged: the compressed XMP does not inflate: {error}") from error
    if not inflating.eof:
        raise DataError(f"{name}: expected XMP of at most {_LONGEST_INFLATED} bytes, got more, or a part of it")
    return found
