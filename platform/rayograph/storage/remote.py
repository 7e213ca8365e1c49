"""Every scheme but S3's and local files', through fsspec.

Any of them can be read. Only those are written whose uploads appear whole and whose server can refuse to create an
object twice: without both, half-written work could be taken for finished work.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from threading import Lock

import fsspec
from fsspec import AbstractFileSystem

from rayograph.errors import MissingObjectError, StorageError
from rayograph.storage.object_store import NO_FILE, ObjectInfo, join_uri

_WRITABLE = {"memory", "gs", "gcs", "az", "abfs", "abfss"}
_FLAT = {"gs", "gcs"}  # gcsfs escapes a key as a whole; with other filesystems '..' may lead out of the place
_PLACES = {"local", "sftp", "ssh", "smb"}  # where more than files has names: a pipe would hold up a reader for ever
# memory:// looks before it writes. It lives in one process, where a lock makes the two one step.
_MEMORY = Lock()


class RemoteFolder:
    """What lies below `uri`, as the fsspec filesystem of its scheme sees it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri if uri.endswith("://") else uri.rstrip("/")
        self._scheme = uri.partition("://")[0].lower()
        with _asking(self.uri, "open"):
            fsspec.get_filesystem_class(self._scheme)

    @property
    def flat(self) -> bool:
        return self._scheme in _FLAT

    def __reduce__(self) -> tuple[type["RemoteFolder"], tuple[str]]:
        return type(self), (self.uri,)

    def __eq__(self, other: object) -> bool:
        """An address: what came through a pickle is the same, so that a cache on a worker knows it again."""
        return isinstance(other, type(self)) and other.__reduce__() == self.__reduce__()

    def __hash__(self) -> int:
        return hash(self.__reduce__())

    @cached_property
    def _opened(self) -> tuple[AbstractFileSystem, str]:
        filesystem, root = fsspec.core.url_to_fs(self.uri)
        return filesystem, root.rstrip("/")

    def _path(self, key: str) -> str:
        root = self._opened[1]
        return f"{root}/{key}" if key else root

    def objects(self, prefix: str) -> Iterator[ObjectInfo]:
        with _asking(self.uri, "list"):
            filesystem, root = self._opened
            filesystem.invalidate_cache()  # others write too
            found = filesystem.find(self._path(prefix.rpartition("/")[0]), detail=True)
            # Only what lies below: where the place itself is a file, fsspec gives that file.
            rows = [
                (path[len(root) + 1 :], int(info["size"]))
                for path, info in found.items()
                if len(path) > len(root) and info["type"] == "file"
            ]
        for key, size in sorted(rows):
            if key.startswith(prefix) and not key.endswith("/"):
                yield ObjectInfo(key, size)

    def folders(self, folder: str) -> Iterator[str]:
        with _asking(self.uri, "list"):
            filesystem = self._opened[0]
            filesystem.invalidate_cache()
            try:
                found = filesystem.ls(self._path(folder), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return
            rows = [info["name"].rstrip("/").rpartition("/")[2] for info in found if info["type"] == "directory"]
        yield from rows

    def size(self, key: str) -> int:
        uri = join_uri(self.uri, key)
        with _asking(uri, "size"):
            self._opened[0].invalidate_cache()
            info = self._opened[0].info(self._path(key))
            if info["type"] != "file":
                raise MissingObjectError(f"{uri}: no such object")
            return int(info["size"])

    def read(self, key: str) -> bytes:
        self._require_file(key)
        with _asking(join_uri(self.uri, key), "read"):
            return bytes(self._opened[0].cat_file(self._path(key)))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        starts = [start for start, _ in ranges]
        ends = [start + length for start, length in ranges]
        self._require_file(key)
        with _asking(join_uri(self.uri, key), "read"):
            paths = [self._path(key)] * len(ranges)
            return [bytes(answer) for answer in self._opened[0].cat_ranges(paths, starts, ends, on_error="raise")]

    def _require_file(self, key: str) -> None:
        """Raises MissingObjectError where a name may be of another kind, and is."""
        if self._scheme in _PLACES:
            self.size(key)

    def put(self, key: str, data: bytes | memoryview) -> None:
        with self._writing(key, "put"):
            self._opened[0].pipe_file(self._path(key), bytes(data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._writing(key, "put if absent"), _MEMORY if self._scheme == "memory" else nullcontext():
            try:
                self._opened[0].pipe_file(self._path(key), data, mode="create")
            except FileExistsError:
                return False
            return True

    def delete(self, key: str) -> None:
        with self._writing(key, "delete"):
            try:
                self._opened[0].rm_file(self._path(key))
            except FileNotFoundError:
                return

    @contextmanager
    def _writing(self, key: str, asked: str) -> Iterator[None]:
        uri = join_uri(self.uri, key)
        if self._scheme not in _WRITABLE:
            raise StorageError(
                f"{uri}: {asked} is not supported on {self._scheme}://, which cannot create an object whole and "
                "exactly once: write to s3://, gs://, az:// or a folder"
            )
        with _asking(uri, asked):
            yield


@contextmanager
def _asking(uri: str, asked: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise MissingObjectError(f"{uri}: no such object") from error
    except OSError as error:
        if error.errno in NO_FILE:
            raise MissingObjectError(f"{uri}: no such object") from error
        raise StorageError(f"{uri}: {asked} failed ({_said(error)})") from error
    except Exception as error:  # each filesystem raises its own server's kind
        raise StorageError(f"{uri}: {asked} failed ({_said(error)})") from error


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
