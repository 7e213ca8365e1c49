"""What every store promises.

A key is what follows the store's URI: a '/'-separated path in a folder, any text at all in an object store, where
"p//x", "a/../y", "~" and "s3://b/c" are names like others. A key that is listed is a key of that store and of no other
place. Sizes, starts and lengths are bytes. Objects appear whole or not at all, and every failure is a `StorageError`
in one line: which URI, what was asked, what the server said.
"""

import builtins
import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from uuid import uuid4

from rayograph.errors import MissingObjectError, StorageError

UNFINISHED = ".unfinished-"
"""Names that begin so belong to writes in progress: never listed, refused as keys."""


NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ELOOP, errno.ENAMETOOLONG}
"""What operating systems say of a name that is no file's: a socket's, a link's to itself, one that none could have."""


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a listing; `size` in bytes."""

    key: str
    size: int


@runtime_checkable
class Backend(Protocol):
    """One kind of place. Keys and ranges come checked; `ObjectStore` says what each method means.

    A backend can be pickled, opens its clients at the first use and never pickles them, and is safe to share between
    threads.
    """

    @property
    def uri(self) -> str: ...

    @property
    def flat(self) -> bool:
        """Whether keys are mere names, so that '..' and '//' in one lead nowhere."""

    def objects(self, prefix: str) -> Iterator[ObjectInfo]: ...

    def folders(self, folder: str) -> Iterator[str]: ...

    def size(self, key: str) -> int: ...

    def read(self, key: str) -> bytes: ...

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of each non-empty range; what lies past the object's end is left out, for the store to notice."""

    def put(self, key: str, data: bytes | memoryview) -> None: ...

    def put_if_absent(self, key: str, data: bytes) -> bool: ...

    def delete(self, key: str) -> None: ...


@dataclass(frozen=True)
class ObjectStore:
    """Objects below one URI. It pickles as an address, without clients or credentials, and threads may share it."""

    backend: Backend

    @property
    def uri(self) -> str:
        """The store's address, which `open_store` takes again."""
        return self.backend.uri

    def uri_of(self, key: str) -> str:
        """The address of one object, for messages and records."""
        return join_uri(self.uri, key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The objects at any depth whose keys begin with the string `prefix`, sorted by key; none where none is."""
        if prefix:
            self._check_key(prefix.removesuffix("/") if not self.backend.flat else prefix.rstrip("/") or "any")
        return (info for info in self.backend.objects(prefix) if f"/{UNFINISHED}" not in f"/{info.key}")

    def folders(self, folder: str = "") -> builtins.list[str]:
        """Names of the folders right below `folder`, sorted, without a look into them; on a disk also empty ones."""
        if folder:
            self._check_key(folder)
        return sorted(name for name in self.backend.folders(folder) if not name.startswith(UNFINISHED))

    def size(self, key: str) -> int:
        """The object's bytes. Raises `MissingObjectError`."""
        return self.backend.size(self._check_key(key))

    def exists(self, key: str) -> bool:
        """Whether the object is there; a refusal is an error, never "no"."""
        try:
            self.size(key)
        except MissingObjectError:
            return False
        return True

    def read(self, key: str) -> bytes:
        """The whole object. Raises `MissingObjectError`."""
        return self.backend.read(self._check_key(key))

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start`. Raises `MissingObjectError`, or `StorageError` past the object's end."""
        return self.read_ranges(key, [(start, length)])[0]

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Exactly the bytes of every (start, length), in the order asked; fetched side by side where that is faster.

        Raises `MissingObjectError`, or `StorageError` where a range reaches past the object's end. An empty range is
        answered without asking the server.
        """
        self._check_key(key)
        for start, length in ranges:
            if start < 0 or length < 0:
                raise StorageError(f"{self.uri_of(key)}: cannot read {length} bytes from {start}")
        wanted = [(start, length) for start, length in ranges if length > 0]
        answers = self.backend.read_ranges(key, wanted) if wanted else []
        for (start, length), answer in zip(wanted, answers, strict=True):
            if len(answer) != length:
                got = f"asked for {length} bytes from {start}, got {len(answer)}"
                raise StorageError(f"{self.uri_of(key)}: {got}: the object ends before")
        filled = iter(answers)
        return [next(filled) if length > 0 else b"" for _, length in ranges]

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write the object, replacing one that is there; readers see the old bytes or the new, nothing between."""
        self.backend.put(self._check_key(key), data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write the object unless it is there: True where this call created it, as exactly one of many racers does."""
        return self.backend.put_if_absent(self._check_key(key), data)

    def delete(self, key: str) -> None:
        """Remove the object; one that is missing is no error."""
        self.backend.delete(self._check_key(key))

    def check_access(self, writable: bool = True) -> None:
        """Show, before any work, that one can list, and where `writable` also create, commit once and delete.

        Raises `StorageError` with what was refused, also where the server lets a second commit replace the first.
        """
        next(self.backend.objects(""), None)
        if not writable:
            return
        probe = f"{UNFINISHED}{uuid4().hex}"
        if not self.backend.put_if_absent(probe, b"first"):
            raise StorageError(f"{self.uri_of(probe)}: the server says that a new random name exists already")
        try:
            if self.backend.put_if_absent(probe, b"second"):
                raise StorageError(
                    f"{self.uri}: creating one object twice succeeded twice: this server ignores If-None-Match or its "
                    "like, so commits here would not be exactly once"
                )
        finally:
            self.backend.delete(probe)

    def _check_key(self, key: str) -> str:
        parts = key.split("/")
        astray = not self.backend.flat and any(part in ("", ".", "..") for part in parts)
        if not key or key.endswith("/") or astray or any(part.startswith(UNFINISHED) for part in parts) or "\0" in key:
            raise StorageError(
                f"{self.uri}: {key!r} is no key: expected a/b/c without empty, '.', '..' or hidden parts"
            )
        return key


def join_uri(uri: str, key: str) -> str:
    """The address of `key` below `uri`."""
    return uri + key if uri.endswith("/") else f"{uri}/{key}"
