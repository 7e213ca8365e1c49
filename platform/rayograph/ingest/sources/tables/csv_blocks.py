"""Blocks of a CSV, and the cells of those in which nothing is odd: cut by their bytes, all at once.

Shapes: n cells, row by row.
"""

import io
from collections import deque
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from rayograph.storage.range_file import RangeFile

_FIRST_BYTES, _BLOCK_BYTES = 1 << 12, 1 << 18
_MOST_BYTES = 8 << 20  # of a block that is cut at once
_NEWLINE, _QUOTE = b'\n"'


def blocks(file: "io.BufferedReader[RangeFile]", encoding: str) -> Iterator[bytes]:
    """A table in UTF-8, whole lines each, the first few by themselves. Raises UnicodeDecodeError for UTF-16 only."""
    text = io.TextIOWrapper(file, encoding, newline="") if encoding == "utf-16" else None
    if encoding == "utf-8-sig":
        file.read(3)
    parts: list[bytes] = []
    size = _FIRST_BYTES
    while data := file.read(size) if text is None else text.read(size).encode():
        end = data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, -1) + 1
        if end:
            yield b"".join((*parts, data[:end]))
            parts, size = [], _BLOCK_BYTES
        parts.append(data[end:])
    if rest := b"".join(parts):
        yield rest


class Lines:
    """The lines of blocks that were taken, with their ends; where a row goes on, of those that follow."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts, self._waiting = parts, deque[str]()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        while not self._waiting:
            self.take(next(self._parts))
        return self._waiting.popleft()

    def take(self, block: bytes) -> None:
        """Bytes that are not UTF-8 become surrogates."""
        self._waiting.extend(io.StringIO(block.decode("utf-8", "surrogateescape"), newline=""))

    def put_back(self, line: str) -> None:
        self._waiting.appendleft(line)


def cut_plainly(block: bytes, between: str, width: int) -> list[pa.Array] | None:
    """The columns of a block, as Python's strict reader gives them; None where it might say more than that.

    Plain are rows of `width` cells on one line each, whose quotes stand around whole cells; within those "" is one.
    """
    separator = between.encode()
    if len(block) > _MOST_BYTES or len(separator) != 1 or separator in b'\r\n"':
        return None
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    if b"\r" in block:
        return None
    # a,"b ""c""" → ⏎a,"b ""c"""⏎: every cell stands between two marks
    codes = np.frombuffer(b"\n" + block + b"\n" * (not block.endswith(b"\n")), np.uint8)
    newlines = codes == _NEWLINE
    marks = newlines | (codes == separator[0])
    at, dropped = np.flatnonzero(marks), np.zeros(0, np.int64)
    if b'"' in block:
        is_quote = codes == _QUOTE
        quotes = np.flatnonzero(is_quote)
        inside = np.searchsorted(quotes, at) % 2 == 1
        opening, closing = quotes[::2], quotes[1::2]
        again = is_quote[opening - 1]
        if not (again | marks[opening - 1]).all() or not (is_quote[closing + 1] | marks[closing + 1]).all():
            return None
        if newlines[at[inside]].any():
            return None
        at, dropped = at[~inside], np.sort(np.append(closing, opening[~again]))
    starts, stops, last = at[:-1] + 1, at[1:], newlines[at[1:]]
    there = (starts < stops) | ~(last & newlines[at[:-1]])  # but for empty lines
    starts, stops, last = starts[there], stops[there], last[there]
    if len(last) % width or (last != (np.arange(len(last)) % width == width - 1)).any():
        return None
    ends = np.zeros(len(last) + 1, np.int64)
    np.cumsum(stops - np.searchsorted(dropped, stops) - starts + np.searchsorted(dropped, starts), out=ends[1:])
    kept = np.ones(len(codes), bool)
    kept[at] = kept[dropped] = False
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(codes[kept])]
    cells = pa.Array.from_buffers(pa.large_string(), len(last), buffers)
    return [cells.take(pa.array(np.arange(column, len(last), width))) for column in range(width)]
