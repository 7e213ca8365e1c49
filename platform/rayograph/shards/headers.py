"""Walking a tar from its first byte to its last: what its members are called, where they lie, what they hash to.

tarfile makes an object of every member; a walk over blocks that pass by once is several times as fast. What is read:
the headers of v7, ustar, GNU and pax, with long names and large sizes in all their spellings.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple
from zlib import adler32

import xxhash

from rayograph.errors import DataError
from rayograph.shards.sequential_reader import Forward

BLOCK = 512
SMALL_BYTES = 256
"""The contents of files up to this size come with them."""

MOST_EXTRA_BYTES = 1 << 20
"""Of a member that only holds the next one's name or pax records: no name is longer, but damage may be."""

Kind = Literal["file", "folder", "link", "device", "sparse file", "other"]

_ZEROS = bytes(BLOCK)
_LONG_NAME, _LONG_LINK, _PAX, _SOLARIS_PAX, _STANDING_PAX = b"L", b"K", b"x", b"X", b"g"
_EXTRA = {_LONG_NAME, _LONG_LINK, _PAX, _SOLARIS_PAX, _STANDING_PAX}
_SPARSE = b"S"
_KINDS: dict[bytes, Kind] = {
    **dict.fromkeys((b"0", b"\0", b"7"), "file"),
    **dict.fromkeys((b"1", b"2"), "link"),
    **dict.fromkeys((b"3", b"4", b"6"), "device"),
    b"5": "folder",
    _SPARSE: "sparse file",
}
_WITHOUT_DATA = {"folder", "link", "device"}  # whatever size their headers state
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}


class Member(NamedTuple):
    """One member. `offset` and `size` (bytes) are its contents'; a file's have an XXH3 `checksum`.

    Bytes of `name` that are not UTF-8 are surrogates. `contents` are those of files of `SMALL_BYTES` at most.
    """

    name: str
    kind: Kind
    offset: int
    size: int
    checksum: int = 0
    contents: bytes | None = None


def members_of(source: Forward) -> Iterator[Member]:
    """Every member in turn. The blocks of zeros that should end a tar may be missing.

    Raises DataError naming the file, and the member or byte, for what is no tar, damaged or cut off.
    """
    if not source.total:
        raise DataError(f"{source.uri}: expected a tar, got an empty file")
    standing: dict[str, bytes] = {}  # pax records for all that follow
    records: dict[str, bytes] = {}  # for the next member; GNU's long name is kept as one
    before = ""
    while True:
        start = source.position
        block = source.take(BLOCK)
        if block == _ZEROS[: len(block)]:
            if records:
                raise _wrong(source, start, before, "got none")
            _check_rest(source)
            return
        _check(block, source, start, before)
        try:
            size, code = number(block[124:136]), block[156:157]
            if code in _EXTRA:
                body = _extra_body(source, size)
                if code == _LONG_NAME:
                    records["path"] = body.partition(b"\0")[0]
                elif code == _STANDING_PAX:
                    standing |= _pax_records(body)
                elif code != _LONG_LINK:
                    records |= _pax_records(body)
                continue
            kind = _KINDS.get(code, "other")
            raw = _name_in(block)
            if standing or records:
                raw, size, kind = _overridden(raw, size, kind, standing | records)
                records = {}
        except ValueError as error:
            raise _wrong(source, start, before, f"got a damaged one ({error})") from None
        try:
            name = raw.decode()
        except UnicodeDecodeError:
            name = raw.decode("utf-8", "surrogateescape")
        if code == b"\0" and name.endswith("/"):
            kind = "folder"  # v7 had no type for them
        if code == _SPARSE:
            _skip_map(block, source)
        before = name
        yield _passed(source, name, kind, 0 if kind in _WITHOUT_DATA else size)


def number(field: bytes) -> int:
    """A header's number: octal, or base 256 behind a byte of 0x80. Raises ValueError for anything else."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        found = int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        found = -1
    if found < 0:
        raise ValueError(f"{field!r} for an octal number")
    return found


def header_name(block: bytes) -> str | None:
    """The name that a header holds by itself; None for one that is damaged, not UTF-8 or as long as fits: cut off."""
    if not _sum_holds(block):
        return ""
    name = _name_in(block)
    try:
        return name.decode() if len(block[:100].partition(b"\0")[0]) < 100 else None
    except UnicodeDecodeError:
        return None


def printable(name: str) -> str:
    """A name for messages and records, on one line whatever bytes it was made from."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "\\0")
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in text)


def _passed(source: Forward, name: str, kind: Kind, size: int) -> Member:
    """The member whose contents come next, which are passed over and hashed."""
    offset = source.position
    if offset + size > source.total:
        raise DataError(
            f"{source.uri}: member {printable(name)}: expected {size:,} bytes from byte {offset:,}, "
            f"got {source.total - offset:,}: the tar is cut off"
        )
    checksum, contents = 0, None
    if kind == "file" and size <= SMALL_BYTES:
        contents = source.take(size)
        checksum = xxhash.xxh3_64_intdigest(contents)
        source.skip(-size % BLOCK)
    elif kind == "file":
        checksum = source.digest(size)
        source.skip(-size % BLOCK)
    elif size:
        source.skip(size + -size % BLOCK)
    return Member(name, kind, offset, size, checksum, contents)


def _check(block: bytes, source: Forward, start: int, before: str) -> None:
    """Raises DataError unless this is a whole header."""
    if len(block) == BLOCK and _sum_holds(block):
        return
    if start == 0:
        for magic, name in _COMPRESSED.items():
            if block.startswith(magic):
                raise DataError(
                    f"{source.uri}: expected a plain tar, got one compressed by {name}: single samples cannot be read "
                    "from it, so decompress it first (its images are compressed anyway)"
                )
        raise DataError(
            f"{source.uri}: expected a tar, got {source.total:,} bytes that do not begin with a tar's header"
        )
    if len(block) < BLOCK:
        raise _wrong(source, start, before, f"got {len(block)} bytes of one: the tar is cut off")
    raise _wrong(source, start, before, "got other bytes (header checksum): it is damaged, or holds garbage there")


def _wrong(source: Forward, start: int, before: str, got: str) -> DataError:
    after = f", after member {printable(before)}" if before else ""
    return DataError(f"{source.uri}: byte {start:,}{after}: expected a member's header, {got}")


def _sum_holds(block: bytes) -> bool:
    """Whether the header's bytes, with blanks for the checksum itself, sum to it."""
    field = block[148:156]
    try:
        stated = number(field)
    except ValueError:
        return False
    # The low half of Adler-32 is 1 + the sum of the bytes modulo 65,521: exact for 256 bytes, and far faster than sum.
    first, second, blank = adler32(block[:256]), adler32(block[256:]), adler32(field)
    total = (first & 0xFFFF) + (second & 0xFFFF) - (blank & 0xFFFF) + 8 * ord(" ") - 1
    if total == stated:
        return True
    high = sum(byte > 127 for byte in block[:148] + block[156:])
    return total - 256 * high == stated  # some old writers had signed bytes


def _name_in(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    if block[345] and block[257:263] == b"ustar\0":  # GNU's headers have times there
        return block[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _overridden(raw: bytes, size: int, kind: Kind, records: dict[str, bytes]) -> tuple[bytes, int, Kind]:
    """Name, size and kind of a member as pax records change them."""
    if any(name.startswith("GNU.sparse.") for name in records):
        kind = "sparse file"
    path = records.get("GNU.sparse.name") or records.get("path") or raw
    stated = records.get("size")
    if stated is None:
        return path, size, kind
    if not stated.isdigit():
        raise ValueError(f"{stated[:40]!r} for a size")
    return path, int(stated), kind


def _extra_body(source: Forward, size: int) -> bytes:
    if size > MOST_EXTRA_BYTES:
        raise ValueError(f"{size:,} bytes of name or pax records")
    body = source.take(size)
    if len(body) < size:
        raise ValueError(f"{len(body)} of {size} bytes of name or pax records: the tar is cut off")
    source.skip(-size % BLOCK)
    return body


def _pax_records(body: bytes) -> dict[str, bytes]:
    """`<length> <keyword>=<value>\\n` one after another. Raises ValueError for anything else."""
    records, at = {}, 0
    while at < len(body) and body[at]:
        digits = body[at : at + 20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = body[at : at + length]
        keyword, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if length < 5 or len(record) != length or not equals or record[-1:] != b"\n":
            raise ValueError(f"{body[at : at + 40]!r} for a pax record")
        records[keyword.decode("utf-8", "replace")] = value
        at += length
    return records


def _skip_map(block: bytes, source: Forward) -> None:
    """Passes over the blocks that go on with an old GNU sparse file's map."""
    more = block[482]
    while more:
        block = source.take(BLOCK)
        more = block[504] if len(block) == BLOCK else 0


def _check_rest(source: Forward) -> None:
    """Raises DataError if members follow the end: readers stop there, and would never tell."""
    while block := source.take(BLOCK):
        if block == _ZEROS[: len(block)]:
            continue
        if len(block) == BLOCK and _sum_holds(block):
            raise DataError(
                f"{source.uri}: expected nothing after the tar's end, got more members from byte "
                f"{source.position - BLOCK:,}: tars that were joined are read up to the first's end only"
            )
        return  # the rest of a block of the writer's, with whatever was in it
