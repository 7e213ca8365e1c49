"""Objects as files in a folder, also one that several machines mount."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from urllib.parse import unquote
from uuid import uuid4

import numpy as np

from rayograph.errors import MissingObjectError, StorageError
from rayograph.storage.object_store import NO_FILE, UNFINISHED, ObjectInfo, join_uri

DIRECT_BYTES = 8 << 20
"""From this size on, and so much at a time, bytes may go past the kernel's cache."""

PAGE = 4096


@dataclass(frozen=True)
class LocalFolder:
    """The folder `uri`, an absolute path; made by the first write."""

    uri: str
    flat = False

    @classmethod
    def open(cls, uri: str) -> "LocalFolder":
        """From `path`, `~/path` or `file:///path`; a relative path means the working directory of this very moment."""
        path = uri
        if uri.lower().startswith("file://"):
            host, slash, rest = uri[len("file://") :].partition("/")
            if host not in ("", "localhost") or not slash:
                raise StorageError(f"{uri}: a file URI is file:///path, on this machine")
            path = "/" + unquote(rest)
        if not path:
            raise StorageError("a storage URI is empty: expected a folder or s3://bucket/prefix")
        return cls(os.path.abspath(os.path.expanduser(path)))

    def objects(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = prefix.rpartition("/")[0]
        with _writing(self.uri, "list"):
            yield from self._walk(folder, prefix, frozenset())

    def _walk(self, folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[ObjectInfo]:
        try:
            here = os.stat(self._path(folder))
            if (here.st_dev, here.st_ino) in above:  # a link leads back up
                return
            with os.scandir(self._path(folder)) as found:
                entries = [(f"{folder}/{entry.name}" if folder else entry.name, entry) for entry in found]
        except FileNotFoundError:
            return
        except NotADirectoryError:
            if folder:  # an object, with nothing below it
                return
            raise
        # A folder sorts by its name with the slash, as its files' keys do: a.tar before a/b, and a/b before a0.
        rows = sorted((key + "/" if _is_folder(entry) else key, entry) for key, entry in entries)
        for key, entry in rows:
            if not key.startswith(prefix) or entry.name.startswith(UNFINISHED):
                continue
            status = _status(entry)
            if status is None:
                continue
            if stat.S_ISREG(status.st_mode):
                yield ObjectInfo(key, status.st_size)
            elif stat.S_ISDIR(status.st_mode):
                yield from self._walk(key.rstrip("/"), prefix, above | {(here.st_dev, here.st_ino)})

    def folders(self, folder: str) -> Iterator[str]:
        missing = suppress(FileNotFoundError, NotADirectoryError)
        with _writing(self.uri, "list"), missing, os.scandir(self._path(folder)) as found:
            yield from [entry.name for entry in found if _is_folder(entry)]

    def size(self, key: str) -> int:
        with _reading(join_uri(self.uri, key), "size"):
            status = os.stat(self._path(key))
        if not stat.S_ISREG(status.st_mode):
            raise MissingObjectError(f"{join_uri(self.uri, key)}: no such object")
        return status.st_size

    def read(self, key: str) -> bytes:
        with _reading(join_uri(self.uri, key), "read"), self._file(key) as file:
            return file.read()

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        with _reading(join_uri(self.uri, key), "read"), self._file(key) as file:
            size = os.fstat(file.fileno()).st_size  # memory is set aside for what is there, not for what is asked
            return [_read_at(file.fileno(), start, min(length, max(0, size - start))) for start, length in ranges]

    def put(self, key: str, data: bytes | memoryview) -> None:
        with _writing(join_uri(self.uri, key), "put"), self._unfinished(key, data) as unfinished:
            os.replace(unfinished, self._path(key))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        with _writing(join_uri(self.uri, key), "put if absent"), self._unfinished(key, data) as unfinished:
            try:
                os.link(unfinished, path)  # the one call that creates a whole file under a name, or refuses
            except FileExistsError:
                if os.path.isdir(path):
                    raise IsADirectoryError(0, "a folder has that name", path) from None
                # NFS may repeat a link whose answer was lost and then refuse it; the second link shows that it is ours.
                return os.stat(unfinished).st_nlink == 2
            return True

    def delete(self, key: str) -> None:
        with _writing(join_uri(self.uri, key), "delete"), suppress(FileNotFoundError, NotADirectoryError):
            if not os.path.isdir(self._path(key)):
                os.unlink(self._path(key))

    def _path(self, key: str) -> str:
        return join_uri(self.uri, key) if key else self.uri

    @contextmanager
    def _file(self, key: str) -> Iterator[FileIO]:
        """The regular file `key`, unbuffered. Raises FileNotFoundError for any other kind.

        A pipe that nobody writes to would hold up a plain open for ever.
        """
        with FileIO(os.open(self._path(key), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a regular file")
            yield file

    @contextmanager
    def _unfinished(self, key: str, data: bytes | memoryview) -> Iterator[str]:
        """A hidden file beside `key` with `data` on the disk, then gone, and the folder's new entry on the disk."""
        folder = os.path.dirname(self._path(key))
        path = os.path.join(folder, f"{UNFINISHED}{uuid4().hex}")
        os.makedirs(folder, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                _write(file, memoryview(data))
                os.fsync(file)
            finally:
                os.close(file)
            yield path
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
        entries = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(entries)
        finally:
            os.close(entries)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What a folder's entry leads to; None where it was deleted since, or is a link to nowhere or to itself."""
    try:
        return entry.stat()
    except OSError as error:
        if error.errno in NO_FILE:
            return None
        raise


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or through what may not be entered
        return False


def _write(file: int, data: memoryview) -> None:
    """All of it. What is large and lies on pages goes to the disk by itself, not through the kernel's cache.

    That is twice as fast, and leaves in the cache what others want to read from it.
    """
    written = 0
    if len(data) >= DIRECT_BYTES and np.frombuffer(data, np.uint8).ctypes.data % PAGE == 0:
        flags = fcntl.fcntl(file, fcntl.F_GETFL)
        with suppress(OSError):  # some file systems cannot, and say so at once or at the first write
            fcntl.fcntl(file, fcntl.F_SETFL, flags | getattr(os, "O_DIRECT", 0))
            end = len(data) - len(data) % PAGE
            while written < end and not written % PAGE:
                written += os.write(file, data[written : min(end, written + DIRECT_BYTES)])
        fcntl.fcntl(file, fcntl.F_SETFL, flags)
    while written < len(data):
        written += os.write(file, data[written:])


def _read_at(file: int, start: int, length: int) -> bytes:
    data = os.pread(file, length, start)
    while 0 < len(data) < length:  # one read gives 2 GiB at the most, and network file systems less
        more = os.pread(file, length - len(data), start + len(data))
        if not more:
            break
        data += more
    return data


@contextmanager
def _reading(uri: str, asked: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_FILE:
            raise MissingObjectError(f"{uri}: no such object") from error
        raise StorageError(f"{uri}: {asked} failed ({error.strerror})") from error


@contextmanager
def _writing(uri: str, asked: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{uri}: {asked} failed ({error.strerror})") from error
