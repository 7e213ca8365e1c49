"""What lies below a URI: the files that are wanted, and, counted by kind, those that are passed over."""

import re
from collections import Counter
from collections.abc import Iterator
from urllib.parse import unquote

from rayograph.errors import DataError, MissingObjectError
from rayograph.ingest.sources.patterns import Pattern, split_pattern
from rayograph.shards.headers import printable
from rayograph.shards.ignored import ignored_kind
from rayograph.storage import Access, ObjectInfo, ObjectStore, open_store

MOST_KINDS = 64
"""Counted apart; others are "other"."""

_EXTENSION = re.compile(r"[^./]\.([A-Za-z0-9]{1,12})$")


class Below:
    """The files below a folder, at `uri` itself, or those that a pattern there means.

    A file or folder that is really called like a pattern is taken at its word. `passed_over` counts, once all files
    were seen, those that a pattern meant or a folder held and nobody wanted.
    """

    def __init__(self, uri: str, endpoint_url: Access) -> None:
        self.uri, self.passed_over = uri, Counter[str]()
        split = split_pattern(uri)
        if split is None or _is_there(uri, endpoint_url):
            self.store, self._pattern = open_store(uri, endpoint_url), None
            return
        folder, pattern = split
        if uri.lower().startswith("file://"):
            pattern = unquote(pattern)
        self.store, self._pattern = open_store(folder, endpoint_url), Pattern(pattern)

    def files(self, endings: tuple[str, ...]) -> Iterator[ObjectInfo]:
        """Those whose names end so, in any case of letters. Raises DataError for a name of braces that is not there."""
        pattern = self._pattern
        for info in self.store.list(pattern.head if pattern else ""):
            kind = ignored_kind(info.key)
            if pattern is not None and not pattern.matches(info.key):
                continue
            if kind is None and info.key.lower().endswith(endings):
                yield info
            else:
                self.pass_over(kind or kind_of(info.key))
        if pattern is not None and pattern.missing:
            missing = pattern.missing
            more = f" ({len(missing):,} are missing)" if len(missing) > 1 else ""
            raise DataError(f"{self.uri}: expected {self.store.uri_of(missing[0])}, found no such file{more}")

    def pass_over(self, kind: str, count: int = 1) -> None:
        """Count files that were not wanted."""
        self.passed_over[kind if kind in self.passed_over or len(self.passed_over) < MOST_KINDS else "other"] += count


def files_below(
    uri: str, endpoint_url: Access, ending: str
) -> tuple[ObjectStore, list[tuple[str, int]], dict[str, int]]:
    """A store, (key, bytes) of its files that end so, below `uri`, there, or meant by its pattern; and what else is.

    Raises DataError where there is none.
    """
    if uri.lower().endswith(ending):
        try:
            store, name = beside(uri, endpoint_url)
            return store, [(name, store.size(name))], {}
        except MissingObjectError:
            pass  # a folder may be called so, and so may a pattern
    below = Below(uri, endpoint_url)
    found = [(info.key, info.size) for info in below.files((ending,))]
    if not found:
        raise DataError(f"{uri}: expected files ({ending}), found none{told(below.passed_over)}")
    return below.store, found, dict(below.passed_over)


def beside(uri: str, endpoint_url: Access) -> tuple[ObjectStore, str]:
    """The folder that holds the file at a URI, and the file's name there."""
    folder, slash, name = uri.rstrip("/").rpartition("/")
    store = open_store(folder or ("/" if slash else "."), endpoint_url)
    return store, unquote(name) if uri.lower().startswith("file://") else name


def kind_of(key: str) -> str:
    """An ending with its dot, in lower case; "no extension" for what has none."""
    found = _EXTENSION.search(key)
    return f".{found[1].lower()}" if found else "no extension"


def told(passed_over: dict[str, int]) -> str:
    """What was passed over, in a few words for the end of a line."""
    if not passed_over:
        return ""
    most = sorted(passed_over.items(), key=lambda kind: (-kind[1], kind[0]))
    return " but " + ", ".join(f"{printable(name)} {count:,}" for name, count in most[:8])


def _is_there(uri: str, endpoint_url: Access) -> bool:
    store, name = beside(uri, endpoint_url)
    return store.exists(name) or next(iter(store.list(f"{name}/")), None) is not None
