"""Reading what a source points at: whole images side by side, and files by ranges as Arrow wants them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from posixpath import normpath
from typing import TypeVar

from rayograph.errors import DataError, MissingObjectError
from rayograph.storage import Access, ObjectStore, open_store

S = TypeVar("S")
T = TypeVar("T")

READS_AT_ONCE = 16
"""An object store answers late, but to many at once."""


@dataclass(frozen=True)
class Places:
    """Reads files named by a table that lies in `folder`: by a path from there, an absolute one, or a URI."""

    folder: str
    endpoint_url: Access

    def uri(self, name: str) -> str:
        """Where that is, for messages."""
        return name if _is_absolute(name) else f"{self.folder.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes:
        """Raises DataError for a file that is not there or no name of one; StorageError where a store fails."""
        root, key = self._parts(name)
        try:
            return _store(root, self.endpoint_url).read(key)
        except MissingObjectError as error:
            raise DataError(f"{self.uri(name)}: expected an image, found no such file") from error

    def _parts(self, name: str) -> tuple[str, str]:
        if not name or "\0" in name:
            raise DataError(f"{self.folder}: expected a file's name or URI, got {name!r}")
        scheme, mark, rest = name.partition("://")
        if not _is_absolute(name):
            root, key = self.folder, normpath(name)
        elif not mark or scheme.lower() == "file":
            root, key = "/", normpath(rest if mark else name).lstrip("/")
        else:
            bucket, _, key = rest.partition("/")
            root = f"{scheme}://{bucket}"
        if not key or key.endswith("/") or any(part in ("", ".", "..") for part in key.split("/")):
            raise DataError(f"{self.uri(name)}: expected a file's name or URI below {root}")
        return root, key


def refuse_the_web(name: str, where: str) -> None:
    """Raises DataError for an image that would have to be fetched from the web."""
    if name.lower().startswith(("http://", "https://")):
        raise DataError(
            f"{where}: expected images or URIs of a store, got {name[:200]}: the web is not crawled: download with "
            "img2dataset first, and pack the shards it writes"
        )


def ahead(work: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """work(item) for every item, in order, some at once and none far ahead of the reader."""
    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="rows") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= 2 * READS_AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # the reader had enough
                future.cancel()


def files_below(uri: str, endpoint_url: Access, ending: str) -> tuple[ObjectStore, list[tuple[str, int]]]:
    """A store, and (key, bytes) of its files that end so: below a folder, the one at `uri`, or those that match its *.

    Raises DataError where there is none.
    """
    folder, _, name = uri.rstrip("/").rpartition("/")
    beside = folder or ("/" if uri.startswith("/") else ".")
    store, found = open_store(beside if "*" in name else uri, endpoint_url), []
    if name.lower().endswith(ending) and "*" not in name:
        try:
            size = open_store(beside, endpoint_url).size(name)
            return open_store(beside, endpoint_url), [(name, size)]
        except MissingObjectError:
            pass  # a folder may be called so
    for info in store.list(name.partition("*")[0] if "*" in name else ""):
        if info.key.lower().endswith(ending) and ("*" not in name or fnmatchcase(info.key, name)):
            found.append((info.key, info.size))
    if not found:
        raise DataError(f"{uri}: expected files ({ending}), found none")
    return store, found


def _is_absolute(name: str) -> bool:
    return "://" in name or name.startswith("/")


@lru_cache(maxsize=256)
def _store(uri: str, endpoint_url: Access) -> ObjectStore:
    return open_store(uri, endpoint_url)
