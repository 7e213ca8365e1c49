"""Files that a table or a request names, read only where it may point: below its folder, or below what is allowed."""

from dataclasses import dataclass
from functools import lru_cache
from posixpath import normpath
from urllib.parse import unquote

from rayograph.errors import DataError, MissingObjectError, StorageError
from rayograph.storage import Access, ObjectStore, open_store


@dataclass(frozen=True)
class Places:
    """Reads files that a table names: by a path from its folder, or by an address below that or below `allow`.

    `folder` is the key of the table's folder in `store`, "" the store itself. What links lead to is not asked.
    """

    store: ObjectStore
    folder: str
    endpoint_url: Access
    allow: tuple[str, ...] = ()
    owner: str = "source"
    """Whose declaration has `allow`, for messages."""

    def uri(self, name: str) -> str:
        """Where that is, for messages."""
        return name if _is_absolute(name) else f"{self.root.rstrip('/')}/{name}"

    def read(self, name: str, most_bytes: int | None = None) -> bytes:
        """Raises DataError for a file that is not there, too large, out of reach or no name of one; StorageError as
        stores do.
        """
        if not name or "\0" in name:
            raise DataError(f"{self.root}: expected a file's name or URI, got {name!r}")
        address = _address(name if _is_absolute(name) else _joined(self.root, name))
        if not address or address.endswith("/"):
            raise DataError(f"{self.uri(name)}: expected a file's name or URI below {self.root}")
        if _is_below(address, self.root):
            key = address[len(self.store.uri.rstrip("/")) + 1 :]
            return read_file(self.store, key, self.uri(name), most_bytes=most_bytes)
        if not any(_is_below(address, _address(root)) for root in self.allow):
            raise DataError(
                f"{self.uri(name)}: expected a file's name or URI below {self.root}: allow=(…) of the {self.owner} "
                "names other places"
            )
        scheme, mark, rest = address.partition("://")
        bucket, _, key = rest.partition("/")
        root = f"{scheme}://{bucket}" if mark else "/"
        key = key if mark else address.lstrip("/")
        return read_file(_store(root, self.endpoint_url), key, self.uri(name), most_bytes=most_bytes)

    def key_below(self, name: str) -> str | None:
        """The key, from the table's folder on, that a name means; None for one that leads elsewhere."""
        address = _address(name if _is_absolute(name) else _joined(self.root, name))
        return address[len(self.root.rstrip("/")) + 1 :] if address and _is_below(address, self.root) else None

    @property
    def root(self) -> str:
        """The table's folder."""
        return self.store.uri_of(self.folder) if self.folder else self.store.uri


def read_file(store: ObjectStore, key: str, where: str, what: str = "an image", most_bytes: int | None = None) -> bytes:
    """A file that may well not be there. Raises DataError where that is its own fault, and not the store's."""
    try:
        size = 0 if most_bytes is None else store.size(key)
        if most_bytes is not None and size > most_bytes:
            raise DataError(f"{where}: expected at most {most_bytes:,} bytes, got {size:,}")
        return store.read(key)
    except MissingObjectError as error:
        raise DataError(f"{where}: expected {what}, found no such file") from error
    except StorageError as error:
        # Without a cause nobody was asked: the store takes it for no name. Others may answer better the next time.
        if error.__cause__ is None or isinstance(error.__cause__, PermissionError | ValueError):
            raise DataError(f"{where}: expected a file that can be read: {error}") from error
        raise


def _is_absolute(name: str) -> bool:
    return "://" in name or name.startswith("/")


def _joined(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name}"


def _address(name: str) -> str:
    """An absolute path, or scheme://bucket/key, without "." and ".."; in an object store "//" is part of a name."""
    scheme, mark, rest = name.partition("://")
    if not mark or scheme.lower() == "file":
        host, _, path = rest.partition("/")
        if mark and host not in ("", "localhost"):
            return ""
        return normpath(f"/{unquote(path)}" if mark else name)
    bucket, _, key = rest.partition("/")
    parts: list[str] = []
    for part in key.split("/"):
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        elif part != ".":
            parts.append(part)
    return f"{scheme.lower()}://{bucket}/{'/'.join(parts)}" if bucket else ""


def _is_below(address: str, root: str) -> bool:
    return address.startswith(root.rstrip("/") + "/")


@lru_cache(maxsize=256)
def _store(uri: str, endpoint_url: Access) -> ObjectStore:
    return open_store(uri, endpoint_url)
