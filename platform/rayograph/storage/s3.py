"""Amazon S3 and the servers that speak its protocol, through boto3."""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from uuid import uuid4

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from rayograph.errors import MissingObjectError, StorageError
from rayograph.storage.base import ObjectInfo, join_uri
from rayograph.storage.s3_errors import asking, status_of

ATTEMPTS = 5
CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 30
# One connection gives 85–90 MB/s, whatever the line: ranges of 8–16 MB side by side fill it.
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 16

_ENDPOINTS = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}
_WRITER = "rayograph-writer"


@dataclass(frozen=True)
class _Part:
    """Bytes of one version of an object; `total` is that version's size in bytes."""

    data: bytes
    version: str
    total: int


class S3Prefix:
    """The objects of one bucket below one prefix."""

    def __init__(self, uri: str, endpoint_url: str | None = None) -> None:
        """From `s3://bucket/prefix`. `endpoint_url` names an S3-compatible server; credentials never come this way."""
        bucket, _, prefix = uri.partition("://")[2].partition("/")
        parts = [part for part in prefix.split("/") if part]
        if not bucket or any(part in (".", "..") for part in parts):
            raise StorageError(f"{uri}: expected s3://bucket/prefix")
        self.uri = "/".join(["s3:/", bucket, *parts])
        self.endpoint_url = endpoint_url
        self._bucket = bucket
        self._root = "".join(f"{part}/" for part in parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.uri, self.endpoint_url)

    def __eq__(self, other: object) -> bool:
        """An address: what came through a pickle is the same, so that a cache on a worker knows it again."""
        return isinstance(other, type(self)) and other.__reduce__() == self.__reduce__()

    def __hash__(self) -> int:
        return hash(self.__reduce__())

    @cached_property
    def _client(self) -> Any:
        environment = frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
        with asking(self.uri, "open"):
            return _shared_client(self.endpoint_url, ATTEMPTS, environment, os.getpid())

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._root + key}

    def objects(self, prefix: str) -> Iterator[ObjectInfo]:
        with asking(self.uri, "list"):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._root + prefix):
                for row in page.get("Contents", ()):
                    if not row["Key"].endswith("/"):  # consoles leave these to show a folder
                        yield ObjectInfo(row["Key"][len(self._root) :], row["Size"])

    def size(self, key: str) -> int:
        with asking(join_uri(self.uri, key), "size"):
            return int(self._client.head_object(**self._at(key))["ContentLength"])

    def read(self, key: str) -> bytes:
        def fetch() -> list[_Part]:
            first = self._part(key, 0, PART_BYTES)  # tells the size, and is all of most objects
            return [first, *self._parts(key, _split(PART_BYTES, first.total - PART_BYTES))]

        return b"".join(part.data for part in self._one_version(key, fetch))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        spans = [_split(start, length) for start, length in ranges]
        parts = iter(self._one_version(key, lambda: self._parts(key, [s for several in spans for s in several])))
        return [b"".join(next(parts).data for _ in several) for several in spans]

    def put(self, key: str, data: bytes) -> None:
        with asking(join_uri(self.uri, key), "put"):
            self._client.put_object(**self._at(key), Body=data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        uri, writer = join_uri(self.uri, key), uuid4().hex
        attempt = 0
        with asking(uri, "put if absent"):
            while True:
                try:
                    self._client.put_object(**self._at(key), Body=data, IfNoneMatch="*", Metadata={_WRITER: writer})
                    return True
                except ClientError as error:
                    if status_of(error) == 412:
                        # It is there: put by this very call, where an answer was lost and the request repeated.
                        return self._writer_of(key) == writer
                    if status_of(error) != 409 or attempt == ATTEMPTS - 1:
                        raise
                _back_off(attempt)  # another create is under way, and may yet fail
                attempt += 1

    def delete(self, key: str) -> None:
        with suppress(MissingObjectError), asking(join_uri(self.uri, key), "delete"):
            self._client.delete_object(**self._at(key))

    def _writer_of(self, key: str) -> str | None:
        with suppress(MissingObjectError), asking(join_uri(self.uri, key), "put if absent"):
            return str(self._client.head_object(**self._at(key))["Metadata"].get(_WRITER))
        return None

    def _one_version(self, key: str, fetch: Callable[[], list[_Part]]) -> list[_Part]:
        """All parts from one version of the object: they are separate requests, and it may be replaced between two."""
        for attempt in range(ATTEMPTS):
            parts = fetch()
            if len({part.version for part in parts if part.version}) <= 1:
                return parts
            _back_off(attempt)
        raise StorageError(f"{join_uri(self.uri, key)}: read failed: the object was replaced again and again")

    def _parts(self, key: str, spans: list[tuple[int, int]]) -> list[_Part]:
        if len(spans) <= 1:
            return [self._part(key, *span) for span in spans]
        return list(_shared_pool(os.getpid()).map(lambda span: self._part(key, *span), spans))

    def _part(self, key: str, start: int, length: int) -> _Part:
        """One range, cut where the object ends. boto3 repeats failed requests, but not bodies that break off."""
        uri = join_uri(self.uri, key)
        attempt = 0
        while True:
            with asking(uri, "read"):
                try:
                    answer = self._client.get_object(**self._at(key), Range=f"bytes={start}-{start + length - 1}")
                except ClientError as error:
                    if status_of(error) == 416:  # it ends before `start`; an empty object has no range at all
                        return _Part(b"", "", 0)
                    raise
                try:
                    data, version = answer["Body"].read(), answer.get("ETag", "")
                except (HTTPClientError, IncompleteReadError):
                    if attempt == ATTEMPTS - 1:
                        raise
                else:
                    if "ContentRange" not in answer:  # a server may send everything instead
                        return _Part(data[start : start + length], version, len(data))
                    return _Part(data, version, int(answer["ContentRange"].rpartition("/")[2]))
            _back_off(attempt)
            attempt += 1


# A client costs a tenth of a second and its connections a handshake each, and Ray unpickles a store for every task: so
# a process keeps them. Connections must not be shared over a fork, hence the process id.
@lru_cache(maxsize=8)
def _shared_client(
    endpoint_url: str | None, attempts: int, environment: frozenset[tuple[str, str]], _process: int
) -> Any:
    names = {name for name, _ in environment}
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": attempts},  # 5xx, SlowDown, resets; back-off and jitter
        max_pool_connections=4 * PARTS_AT_ONCE,
        tcp_keepalive=True,
        # Older servers refuse the checksum trailers that are otherwise sent.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Few servers but Amazon's have a DNS name for each bucket.
        s3={"addressing_style": "path"} if endpoint_url or names & _ENDPOINTS else None,
    )
    return Session().client("s3", endpoint_url=endpoint_url, config=config)


@lru_cache(maxsize=1)
def _shared_pool(_process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="s3-parts")


def _split(start: int, length: int) -> list[tuple[int, int]]:
    """The range in parts of `PART_BYTES` and a rest."""
    end = start + length
    return [(at, min(PART_BYTES, end - at)) for at in range(start, end, PART_BYTES)]


def _back_off(attempt: int) -> None:
    """Wait longer each time, and each caller differently, so that many do not come back at once."""
    time.sleep(random.uniform(0, 0.1 * 2**attempt))
