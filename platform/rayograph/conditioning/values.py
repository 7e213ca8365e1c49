"""What text and numbers of a request's rows mean, whatever file they come from."""

import re
from typing import Any

from rayograph.errors import DataError

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}(\.0*)?")
_SCIENTIFIC = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]{1,3}")
EXACT = 2.0**53
"""Beyond, a float stands for several whole numbers."""


def is_exact(value: float) -> bool:
    """Whether a float is one whole number and no other."""
    return value.is_integer() and abs(value) <= EXACT


def whole_number(text: str) -> int | None:
    """The whole number that a text is, in digits or as a float prints itself; None where it is none."""
    if _WHOLE.fullmatch(text):
        return int(text.partition(".")[0])
    if _SCIENTIFIC.fullmatch(text):
        value = float(text)
        return int(value) if is_exact(value) else None
    return None


def real_number(text: str) -> float | None:
    """The number that a text is, or None: Python's own floats, but for 1_000 and digits of other scripts."""
    try:
        return float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None


def once(pairs: list[tuple[str, Any]], where: str, what: str = "column") -> dict[str, Any]:
    """Return a JSON object's pairs. Raises DataError for a key that stands twice, of which readers take the last."""
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where}: {what} {twice!r}: expected once, found {names.count(twice)} times")
    return row
