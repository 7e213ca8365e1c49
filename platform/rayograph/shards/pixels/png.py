"""PNG files: their chunks checked and told apart, so that the decoder sees the image and nothing else.

Text and profiles of any size are no hindrance, and no bit of what makes the picture can be wrong unsaid: zlib's own
checks come after the last row, where decoders do not look.
"""

import struct
import zlib
from dataclasses import dataclass, field

from rayograph.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"IHDR", b"PLTE", b"IDAT")
_MOST_PROFILE_BYTES = 32 << 20
_MOST_RATIO = 1032  # of zlib
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass
class Chunks:
    """What a PNG says; `image` is its image alone. `colour_type` 0 grey, 2 RGB, 3 palette, 4 and 6 with alpha."""

    image: bytes
    width: int
    height: int
    depth: int
    colour_type: int
    found: dict[bytes, bytes] = field(default_factory=dict)
    """The first chunk of each other kind."""

    packed_bytes: int = 0

    @property
    def holds_its_image(self) -> bool:
        """Whether its data can unpack to so many pixels at all."""
        size = self.width * self.height * self.depth * _CHANNELS.get(self.colour_type, 1) // 8
        return size <= _MOST_RATIO * (self.packed_bytes + 64)

    @property
    def profile(self) -> bytes | None:
        """The ICC profile; None for none, and what is no profile for one that cannot be unpacked."""
        data = self.found.get(b"iCCP")
        if data is None:
            return None
        try:
            return zlib.decompressobj().decompress(data[data.index(b"\0") + 2 :], _MOST_PROFILE_BYTES) or b"empty"
        except (ValueError, zlib.error):
            return b"damaged"


def read_chunks(data: bytes, name: str) -> Chunks:
    """Raises DataError naming the sample for a PNG that is cut short or damaged where its image is."""
    parts, at = [SIGNATURE], 8
    found: dict[bytes, bytes] = {}
    header, packed = None, 0
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + size
        if kind == b"IEND":
            break
        if kind in _KEPT or kind == b"tRNS":
            if end > len(data):
                raise DataError(
                    f"{name}: expected an image, got {len(data)} bytes of a corrupt PNG: premature end of data"
                )
            if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                reason = f"the checksum of its chunk {kind.decode()} is wrong"
                raise DataError(f"{name}: expected an image, got {len(data)} bytes of a corrupt PNG: {reason}")
        if kind == b"IHDR" and size == 13:
            header = struct.unpack(">IIBB", data[at + 8 : at + 18])
        elif header is None:
            raise DataError(f"{name}: expected an image, got {len(data)} bytes of a corrupt PNG: no header")
        if kind in _KEPT:
            parts.append(data[at:end])
            packed += size * (kind == b"IDAT")
        if kind not in (b"IDAT", b"fdAT", b"tEXt", b"zTXt", b"iTXt"):
            found.setdefault(kind, data[at + 8 : end - 4])
        at = end
    if header is None or not packed:
        raise DataError(f"{name}: expected an image, got {len(data)} bytes of a corrupt PNG: premature end of data")
    width, height, depth, colour_type = header
    parts.append(b"\0\0\0\0IEND\xaeB`\x82")
    return Chunks(b"".join(parts), width, height, depth, colour_type, found, packed)
