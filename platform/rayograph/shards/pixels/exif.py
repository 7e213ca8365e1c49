"""What EXIF says that changes pixels: which way is up, and whose colours they are."""

import struct
from collections.abc import Iterator

_ORIENTATION = 0x0112
_EXIF_TABLE, _COLOUR_SPACE, _INTEROPERABILITY_TABLE, _INTEROPERABILITY = 0x8769, 0xA001, 0xA005, 1
_UNCALIBRATED = 0xFFFF
_FOUR_BYTES = (2, 4, 13)  # text, long, and where a table begins


def exif_orientation(exif: bytes) -> int:
    """1 to 8, 1 being upright; 1 also where a block says nothing or cannot be read."""
    value = next((value for tag, value in _Tables(exif).first() if tag == _ORIENTATION), 1)
    return value if 1 <= value <= 8 else 1


def says_adobe_rgb(exif: bytes) -> bool:
    """Whether a block says it as cameras do, which write no profile.

    By DCF 2.0 (CIPA DC-009) such a file is an "option file": its interoperability index is "R03", and its colour space,
    for which EXIF has sRGB's number alone, "uncalibrated". Uncalibrated by itself says only that nobody knows.
    """
    if b"R03\0" not in exif:
        return False
    tables = _Tables(exif)
    said = dict(tables.at(dict(tables.first()).get(_EXIF_TABLE)))
    index = dict(tables.at(said.get(_INTEROPERABILITY_TABLE))).get(_INTEROPERABILITY)
    return said.get(_COLOUR_SPACE) == _UNCALIBRATED and index == tables.number(b"R03\0")


class _Tables:
    """The tables of a block: (tag, its number, or its first four bytes as one), as far as they can be read."""

    def __init__(self, exif: bytes) -> None:
        self._data = exif.removeprefix(b"Exif\0\0")
        self._order = {b"II": "<", b"MM": ">"}.get(self._data[:2])

    def first(self) -> Iterator[tuple[int, int]]:
        return self.at(self.number(self._data[4:8]) if len(self._data) >= 8 else None)

    def at(self, start: int | None) -> Iterator[tuple[int, int]]:
        if self._order is None or start is None:
            return
        try:
            (count,) = struct.unpack_from(f"{self._order}H", self._data, start)
            for at in range(start + 2, start + 2 + 12 * count, 12):
                tag, kind, _ = struct.unpack_from(f"{self._order}HHI", self._data, at)
                (value,) = struct.unpack_from(self._order + ("I" if kind in _FOUR_BYTES else "H"), self._data, at + 8)
                yield tag, value
        except struct.error:
            return

    def number(self, data: bytes) -> int:
        """What four bytes are as a number of this block's order."""
        return int.from_bytes(data, "little" if self._order == "<" else "big")
