"""Names as shells write many of them at once: *, ?, [0-2], ** for folders at any depth, {a,b} and {00..12}."""

import re
from fnmatch import fnmatchcase
from itertools import islice

from braceexpand import braceexpand

from rayograph.errors import ConfigError

MOST_NAMES = 1_000_000
"""Braces stand for no more."""

_BRACES = re.compile(r"\{[^}]*(?:,|\.\.)[^}]*\}")
_MAGIC = re.compile(rf"[*?]|\[[^/\]]+\]|{_BRACES.pattern}")
_WILD = re.compile(r"[*?]|\[[^/\]]+\]")


def split_pattern(uri: str) -> tuple[str, str] | None:
    """Split a URI into the folder that is named plainly and the pattern below it; None where it has no pattern."""
    found = _MAGIC.search(uri)
    if found is None:
        return None
    folder, slash, _ = uri[: found.start()].rpartition("/")
    pattern = uri[len(folder) + len(slash) :]
    return folder or ("/" if slash else "."), pattern


class Pattern:
    """Which keys a pattern means, as files or as folders with all that is in them.

    Braces name each of their names: those that no key has are `missing`. Raises ConfigError for braces that do not
    match or stand for more than `MOST_NAMES`.
    """

    def __init__(self, text: str) -> None:
        self.head = text[: found.start()] if (found := _MAGIC.search(text)) else text
        try:
            names = list(islice(braceexpand(text, escape=False), MOST_NAMES + 1)) if _BRACES.search(text) else [text]
        except ValueError as error:
            raise ConfigError(f"{text}: expected braces that match: {error}") from error
        if len(names) > MOST_NAMES:
            raise ConfigError(f"{text}: expected braces that stand for at most {MOST_NAMES:,} names, got more")
        self._plain = {name.rstrip("/"): False for name in names if not _WILD.search(name)}
        self._wild = {name: tuple(name.rstrip("/").split("/")) for name in names if _WILD.search(name)}
        self._met: set[str] = set()

    def matches(self, key: str) -> bool:
        """Whether it names the key or a folder above it."""
        met = False
        if self._plain:
            end = len(key)
            while end > 0:
                if key[:end] in self._plain:
                    self._plain[key[:end]] = met = True
                end = key.rfind("/", 0, end)
        names = key.split("/") if self._wild else []
        for name, parts in self._wild.items():
            if _names(parts, names):
                self._met.add(name)
                met = True
        return met

    @property
    def missing(self) -> list[str]:
        """Names of the braces that nothing had, in their order; none where nothing at all was found."""
        unmet = [name for name, met in self._plain.items() if not met]
        unmet += [name for name in self._wild if name not in self._met]
        return unmet if len(unmet) < len(self._plain) + len(self._wild) else []


def _names(parts: tuple[str, ...], names: list[str]) -> bool:
    if not parts:
        return True  # what is left of the key lies in the folder that was named
    if parts[0] == "**":
        return any(_names(parts[1:], names[start:]) for start in range(len(names)))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _names(parts[1:], names[1:])
