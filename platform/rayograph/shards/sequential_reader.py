"""An object's bytes from its first to its last, read in ranges one ahead and hashed as they come."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import xxhash

from rayograph.storage import ObjectStore

RANGE_BYTES = 16 << 20
"""Three ranges are in memory at the most: the one being read from, the next, and one on its way."""


class Forward:
    """A pass over one object. Use as a context: it ends the reading ahead, whatever happens."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        """Raises MissingObjectError. `uri` and `total` (bytes) are the object's."""
        self.uri = store.uri_of(key)
        self.total = store.size(key)
        self._sha256 = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._ranges = self._ahead(store, key)
        self._start, self._range, self._at = 0, b"", 0

    def __enter__(self) -> "Forward":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    @property
    def position(self) -> int:
        """Bytes that have passed."""
        return self._start + self._at

    def take(self, length: int) -> bytes:
        """The next `length` bytes, fewer where the object ends."""
        at, end = self._at, self._at + length
        if end <= len(self._range):
            self._at = end
            return self._range[at:end]
        return b"".join(self._pieces(length))

    def digest(self, length: int) -> int:
        """XXH3 of the next `length` bytes."""
        at, end = self._at, self._at + length
        if end <= len(self._range):
            self._at = end
            return xxhash.xxh3_64_intdigest(memoryview(self._range)[at:end])
        hasher = xxhash.xxh3_64()
        for piece in self._pieces(length):
            hasher.update(piece)
        return hasher.intdigest()

    def skip(self, length: int) -> None:
        """Passes over the next `length` bytes, fewer where the object ends."""
        if self._at + length <= len(self._range):
            self._at += length
        else:
            for _ in self._pieces(length):
                pass

    def sha256(self) -> str:
        """Of the whole object, to whose end this goes."""
        self.skip(self.total - self.position)
        return self._sha256.hexdigest()

    def _pieces(self, length: int) -> Iterator[memoryview]:
        """The next `length` bytes, as they lie in the ranges."""
        while length > 0:
            if self._at == len(self._range):
                self._start, self._at = self.position, 0
                self._range = next(self._ranges, b"")
                if not self._range:
                    return
            piece = memoryview(self._range)[self._at : self._at + length]
            self._at += len(piece)
            length -= len(piece)
            yield piece

    def _ahead(self, store: ObjectStore, key: str) -> Iterator[bytes]:
        def fetch(start: int) -> bytes:
            data = store.read_range(key, start, min(RANGE_BYTES, self.total - start))
            self._sha256.update(data)  # beside the walk: neither holds the interpreter's lock
            return data

        starts = range(0, self.total, RANGE_BYTES)
        coming = self._pool.submit(fetch, 0) if starts else None
        for start in starts:
            assert coming is not None
            data = coming.result()
            if start + RANGE_BYTES < self.total:
                coming = self._pool.submit(fetch, start + RANGE_BYTES)
            yield data
