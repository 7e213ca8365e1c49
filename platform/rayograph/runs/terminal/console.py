"""The printing edge: what reaches standard output and standard error, on any terminal, and when nobody reads on.

What comes from outside (names, captions, messages of other programs) is shown, never obeyed: control characters and
everything else that a terminal acts on is printed as its escape.
"""

import codecs
import errno
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Protocol, runtime_checkable

TYPOGRAPHY = {
    "×": "x", "–": "-", "—": "-", "…": "...", "←": "<-", "→": "->", "·": "*", "≤": "<=", "≥": ">=", "±": "+-",
    "“": '"', "”": '"', "‘": "'", "’": "'", "σ": "sigma", "λ": "lambda", "ε": "eps", "β": "beta", "²": "2",
}  # fmt: skip
"""What our own lines use beside ASCII, for terminals that have nothing else."""
LABEL_CELLS = 20
"""Columns of a label before its value."""
_HANDLER = "rayograph"
_JOINERS = "\u200c\u200d"


class OutputError(Exception):
    """Standard output took no more; `broken` where its reader has gone, as `head` does."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output: {error.strerror or error}")
        self.broken = error.errno == errno.EPIPE


def escaped(text: str) -> str:
    """Return `text` as one line that a terminal shows and does not obey: ESC becomes \\x1b, a line's end \\n."""
    if plain(text):
        return text
    return "".join(character if _shown(character) else _escape(character) for character in text)


def plain(text: str) -> bool:
    """Whether there is nothing to escape in `text`."""
    return text.isprintable() or all(map(_shown, text))


def cells(text: str) -> int:
    """Return the columns that `text`, escaped, takes on a terminal: two for most of East Asia's characters."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def padded(text: str, width: int) -> str:
    """Return `text` with blanks up to `width` columns."""
    return text + " " * (width - cells(text))


def ready(environment: Mapping[str, str] = os.environ) -> None:
    """Make both streams print anything: what their encoding lacks is replaced or escaped, never a UnicodeError."""
    codecs.register_error(_HANDLER, _replaced)
    _Streams.plain = _plain_locale(environment)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_HANDLER)


def put(line: str) -> None:
    """Print a line of a command's result on standard output. Raises OutputError where that takes no more."""
    put_raw(_typeset(escaped(line)) + "\n")


def put_labelled(line: str) -> None:
    """Print a label of LABEL_CELLS columns and its value; on a terminal, the value in lines below each other."""
    width = shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else 0
    text = escaped(line)
    if width <= 2 * LABEL_CELLS or cells(text) < width:
        put(text)
        return
    for part in _folded(text, width - 1):
        put(part)


def put_raw(text: str) -> None:
    """Print text that is safe already, such as JSON, on standard output. Raises OutputError as `put` does."""
    if sys.stdout is None:  # closed by who started the command
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        _forget(sys.stdout)
        raise OutputError(error) from error


def say(line: str) -> None:
    """Print a line for people on standard error. Work never ends because nobody can read how far it is."""
    stream = quiet_error()
    stream.write(escaped(line) + "\n")
    stream.flush()


def put_is_unicode() -> bool:
    """Whether standard output holds every character."""
    return (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")


@runtime_checkable
class TextStream(Protocol):
    """What of a text file is used for lines that people read; it may have an `encoding` too."""

    def write(self, text: str, /) -> int:
        """Write, and count characters."""
        ...

    def flush(self) -> None:
        """Write what is held back."""
        ...

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        ...

    def fileno(self) -> int:
        """Return the system's number of it."""
        ...


class QuietStream:
    """A text stream for people, or None: writes are dropped once they fail. Typography is ASCII in the C locale."""

    def __init__(self, stream: TextStream | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        """Of what may be written: a bar is drawn with it."""
        return "ascii" if _Streams.plain else getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                self._stream.write(_typeset(text))
            except (OSError, ValueError):
                self._drop()
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._drop()

    def isatty(self) -> bool:
        return self._stream is not None and bool(self._stream.isatty())

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("no stream")
        return int(self._stream.fileno())

    def _drop(self) -> None:
        if self._stream is not None:
            _forget(self._stream)
        self._stream = None


def quiet_error() -> QuietStream:
    """Standard error as it is now."""
    return QuietStream(sys.stderr)


class _Streams:
    """What `ready` found out of the terminal's locale."""

    plain = False


def _folded(text: str, width: int) -> Iterator[str]:
    """`text` in lines of at most `width` columns, all but the first with a label's room before them."""
    line = ""
    for character in text:
        if cells(line) + cells(character) > width:
            yield line
            line = " " * (LABEL_CELLS + 1)
        line += character
    yield line


def _forget(stream: TextStream) -> None:
    """Lets what a stream still holds go nowhere: the interpreter would try again at its end, and complain."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _plain_locale(environment: Mapping[str, str]) -> bool:
    """Whether its user asks for the C locale in so many words. Python sets LC_CTYPE=C.UTF-8 of its own accord then."""
    if environment.get("PYTHONIOENCODING") or environment.get("PYTHONUTF8"):
        return False
    whole, kinds, rest = (environment.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    for asked in (whole, "" if kinds in ("C.UTF-8", "C.utf8", "UTF-8") else kinds, rest):
        if asked:
            return asked in ("C", "POSIX")
    return False


def _typeset(text: str) -> str:
    return text.translate(_TABLE) if _Streams.plain else text


_TABLE = str.maketrans(TYPOGRAPHY)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """The codecs' error handler."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(TYPOGRAPHY.get(character, _escape(character)) for character in lacking), error.end


def _shown(character: str) -> bool:
    """Printable, some kind of space, or what joins letters and emoji."""
    return character.isprintable() or unicodedata.category(character) == "Zs" or character in _JOINERS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
