"""Where shards, artifacts and checkpoints lie: one `ObjectStore`, whichever the place."""

import re

from rayograph.config.s3_access import S3
from rayograph.errors import StorageError
from rayograph.storage.object_store import ObjectInfo, ObjectStore

__all__ = ["Access", "ObjectInfo", "ObjectStore", "open_store"]

Access = S3 | str | None
"""How S3 is asked: a profile's settings, or an endpoint's URL alone."""

_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")


def open_store(uri: str, access: Access = None) -> ObjectStore:
    """The store at `uri`: a folder (`path`, `~/path`, `file:///path`), `s3://bucket/prefix`, or fsspec's other schemes.

    Nothing is contacted yet; `ObjectStore.check_access` does that. `access` holds the settings of S3 buckets, or names
    an S3-compatible server, and means nothing to the other schemes; without it boto3's own environment and
    configuration decide. Raises `StorageError` where the URI cannot be one.
    """
    settings = access if isinstance(access, S3) else S3(endpoint_url=access)
    scheme = uri.partition("://")[0].lower() if "://" in uri else "file"
    endpoints = (settings.endpoint_url, *(bucket.endpoint_url for bucket in settings.buckets.values()))
    for text in (uri, *(url for url in endpoints if url)):
        if _PASSWORD.search(text):  # it would travel in pickles, manifests and messages
            raise StorageError(f"a {text.partition(':')[0]}:// URI holds a password: leave it to the credential chain")
    match scheme:  # each backend is imported on demand: boto3 alone takes a fifth of a second
        case "file":
            from rayograph.storage.local import LocalFolder

            return ObjectStore(LocalFolder.open(uri))
        case "s3":
            from rayograph.storage.s3 import S3Prefix

            return ObjectStore(S3Prefix(uri, settings.of(uri.partition("://")[2].partition("/")[0])))
        case _:
            from rayograph.storage.remote import RemoteFolder

            return ObjectStore(RemoteFolder(uri))
