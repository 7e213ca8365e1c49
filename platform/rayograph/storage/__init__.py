"""Where shards, artifacts and checkpoints lie: one `ObjectStore`, whichever the place."""

import re

from rayograph.errors import StorageError
from rayograph.storage.base import ObjectInfo, ObjectStore

__all__ = ["ObjectInfo", "ObjectStore", "open_store"]

_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")


def open_store(uri: str, endpoint_url: str | None = None) -> ObjectStore:
    """The store at `uri`: a folder (`path`, `~/path`, `file:///path`), `s3://bucket/prefix`, or fsspec's other schemes.

    Nothing is contacted yet; `ObjectStore.check_access` does that. `endpoint_url` names an S3-compatible server and
    means nothing to the other schemes; without it boto3's own environment and configuration decide. Raises
    `StorageError` where the URI cannot be one.
    """
    scheme = uri.partition("://")[0].lower() if "://" in uri else "file"
    for text in (uri, endpoint_url or ""):
        if _PASSWORD.search(text):  # it would travel in pickles, manifests and messages
            raise StorageError(f"a {text.partition(':')[0]}:// URI holds a password: leave it to the credential chain")
    match scheme:  # each backend is imported on demand: boto3 alone takes a fifth of a second
        case "file":
            from rayograph.storage.local import LocalFolder

            return ObjectStore(LocalFolder.open(uri))
        case "s3":
            from rayograph.storage.s3 import S3Prefix

            return ObjectStore(S3Prefix(uri, endpoint_url))
        case _:
            from rayograph.storage.remote import RemoteFolder

            return ObjectStore(RemoteFolder(uri))
