"""Amazon S3 and the servers that speak its protocol, through boto3."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TypeVar
from uuid import uuid4

from boto3.session import Session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, IncompleteReadError
from botocore.parsers import ResponseParserError
from botocore.session import get_session
from botocore.utils import parse_timestamp

from rayograph.config.s3_access import S3Access
from rayograph.errors import MissingObjectError, StorageError
from rayograph.storage.object_store import ObjectInfo, join_uri
from rayograph.storage.s3_client import Page, S3Client
from rayograph.storage.s3_errors import asking, status_of
from rayograph.storage.s3_retries import back_off, persist

ATTEMPTS = 8
CONNECT_TIMEOUT_SECONDS = 10
# Of silence, not for the whole: a server's first byte takes seconds on a bad day, a lost connection says nothing ever.
READ_TIMEOUT_SECONDS = 20
# One connection gives 85–90 MB/s, whatever the line: ranges of 8–16 MB side by side fill it.
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 16

_ENDPOINTS = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}
_WRITER = "rayograph-writer"
_OPENING = Lock()
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Part:
    """Bytes of one version of an object; `total` is that version's size in bytes."""

    data: bytes
    version: str
    total: int


class S3Prefix:
    """The objects of one bucket below one prefix."""

    flat = True

    def __init__(self, uri: str, access: S3Access) -> None:
        """From `s3://bucket/prefix`. Credentials never come with `access`."""
        bucket, _, prefix = uri.partition("://")[2].partition("/")
        parts = [part for part in prefix.split("/") if part]
        if not bucket or any(part in (".", "..") for part in parts):
            raise StorageError(f"{uri}: expected s3://bucket/prefix")
        self.uri = "/".join(["s3:/", bucket, *parts])
        self.access = access
        self._bucket = bucket
        self._root = "".join(f"{part}/" for part in parts)
        self._opened: tuple[int, S3Client] | None = None

    def __reduce__(self) -> tuple[type["S3Prefix"], tuple[str, S3Access]]:
        return type(self), (self.uri, self.access)

    def __eq__(self, other: object) -> bool:
        """An address: what came through a pickle is the same, so that a cache on a worker knows it again."""
        return isinstance(other, type(self)) and other.__reduce__() == self.__reduce__()

    def __hash__(self) -> int:
        return hash(self.__reduce__())

    @property
    def _client(self) -> S3Client:
        opened = self._opened
        if opened is None or opened[0] != os.getpid():  # a fork has its parent's, whose connections it must not share
            environment = frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
            with asking(self.uri, "open"), _OPENING:  # or each of the first threads would make one
                client = _shared_client(self.access, READ_TIMEOUT_SECONDS, environment, os.getpid())
            opened = self._opened = (os.getpid(), client)
        return opened[1]

    @property
    def _payer(self) -> dict[str, str]:
        return {"RequestPayer": "requester"} if self.access.requester_pays else {}

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._root + key, **self._payer}

    def objects(self, prefix: str) -> Iterator[ObjectInfo]:
        for page in self._pages({"Prefix": self._root + prefix}):
            for row in page.get("Contents", ()):
                if not row["Key"].endswith("/"):  # consoles leave these to show a folder
                    yield ObjectInfo(row["Key"][len(self._root) :], row["Size"])

    def folders(self, folder: str) -> Iterator[str]:
        above = f"{self._root}{folder}/" if folder else self._root
        for page in self._pages({"Prefix": above, "Delimiter": "/"}):
            for row in page.get("CommonPrefixes", ()):
                yield row["Prefix"][len(above) : -1]

    def _pages(self, wanted: dict[str, str]) -> Iterator[Page]:
        query = {"Bucket": self._bucket, **wanted, **self._payer}

        def fetch() -> Page:
            page: Page = self._client.list_objects_v2(**query)
            if "IsTruncated" not in page:  # an answer whose body was lost passes with boto3 for an empty page
                raise ResponseParserError("the list has no end")
            return page

        while True:
            page = self._ask("", "list", fetch)
            yield page
            if not page["IsTruncated"]:
                return
            query["ContinuationToken"] = page["NextContinuationToken"]

    def size(self, key: str) -> int:
        return int(self._ask(key, "size", lambda: self._client.head_object(**self._at(key)))["ContentLength"])

    def read(self, key: str) -> bytes:
        def fetch() -> list[_Part]:
            first = self._part(key, 0, PART_BYTES)  # tells the size, and is all of most objects
            return [first, *self._parts(key, _split(PART_BYTES, first.total - PART_BYTES))]

        return b"".join(part.data for part in self._one_version(key, fetch, whole=True))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        spans = [_split(start, length) for start, length in ranges]
        parts = iter(self._one_version(key, lambda: self._parts(key, [s for several in spans for s in several])))
        return [b"".join(next(parts).data for _ in several) for several in spans]

    def put(self, key: str, data: bytes | memoryview) -> None:
        body = bytes(data)
        self._ask(key, "put", lambda: self._client.put_object(**self._at(key), Body=body))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        writer = uuid4().hex
        request = {**self._at(key), "Body": data, "IfNoneMatch": "*", "Metadata": {_WRITER: writer}}

        def create() -> bool:
            try:
                self._client.put_object(**request)
            except ClientError as error:
                if status_of(error) == 412:
                    return False
                raise
            return True

        # Where it is there, it may be by this very call: an answer was lost and the request repeated.
        return self._ask(key, "put if absent", create) or self._writer_of(key) == writer

    def delete(self, key: str) -> None:
        with suppress(MissingObjectError):
            self._ask(key, "delete", lambda: self._client.delete_object(**self._at(key)))

    def _ask(self, key: str, asked: str, ask: Callable[[], _T]) -> _T:
        return persist(self.access.endpoint_url, join_uri(self.uri, key) if key else self.uri, asked, ATTEMPTS, ask)

    def _writer_of(self, key: str) -> str | None:
        with suppress(MissingObjectError):
            head = self._ask(key, "put if absent", lambda: self._client.head_object(**self._at(key)))
            return str(head["Metadata"].get(_WRITER))
        return None

    def _one_version(self, key: str, fetch: Callable[[], list[_Part]], whole: bool = False) -> list[_Part]:
        """All parts from one version of the object: they are separate requests, and it may be replaced between two.

        `whole`: they make up all of it, as they do not where a shorter version ends before a part's start.
        """
        for attempt in range(ATTEMPTS):
            parts = fetch()
            one = len({part.version for part in parts if part.version}) <= 1
            if one and (not whole or sum(len(part.data) for part in parts) == parts[0].total):
                return parts
            back_off(attempt)
        raise StorageError(f"{join_uri(self.uri, key)}: read failed: the object was replaced again and again")

    def _parts(self, key: str, spans: list[tuple[int, int]]) -> list[_Part]:
        if len(spans) <= 1:
            return [self._part(key, *span) for span in spans]
        return list(_shared_pool(os.getpid()).map(lambda span: self._part(key, *span), spans))

    def _part(self, key: str, start: int, length: int) -> _Part:
        """One range, cut where the object ends."""

        def fetch() -> _Part:
            try:
                answer = self._client.get_object(**self._at(key), Range=f"bytes={start}-{start + length - 1}")
            except ClientError as error:
                if status_of(error) == 416:  # it ends before `start`; an empty object has no range at all
                    return _Part(b"", "", 0)
                raise
            data, version = answer["Body"].read(), answer.get("ETag", "")
            if "ContentRange" not in answer:  # a server may send everything instead
                return _Part(data[start : start + length], version, len(data))
            total = int(answer["ContentRange"].rpartition("/")[2])
            expected = min(length, total - start)
            if len(data) != expected:  # as its length may say: some servers end a body early without a word
                raise IncompleteReadError(actual_bytes=len(data), expected_bytes=expected)
            return _Part(data, version, total)

        return self._ask(key, f"read of bytes {start}-{start + length - 1}", fetch)


# A client costs a tenth of a second and its connections a handshake each, and Ray unpickles a store for every task: so
# a process keeps them. Connections must not be shared over a fork, hence the process id.
@lru_cache(maxsize=8)
def _shared_client(
    access: S3Access, read_timeout: float, environment: frozenset[tuple[str, str]], _process: int
) -> S3Client:
    names, endpoint_url = {name for name, _ in environment}, access.endpoint_url
    addressing = access.addressing
    if addressing == "auto" and (endpoint_url or names & _ENDPOINTS):
        addressing = "path"  # few servers but Amazon's have a DNS name for each bucket
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": 1},  # s3_retries has them
        user_agent="rayograph",  # boto3's own description is put together anew for each request, for another tenth
        max_pool_connections=4 * PARTS_AT_ONCE,
        tcp_keepalive=True,
        # Older servers refuse the checksum trailers that are otherwise sent.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": addressing},
        signature_version=UNSIGNED if access.unsigned else None,
    )
    core = get_session()
    # Every answer holds the object's date, whose parsing takes a tenth of a request's processor time, again and again.
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=lru_cache(1024)(parse_timestamp))
    return Session(botocore_session=core).client("s3", endpoint_url=endpoint_url, config=config)


@lru_cache(maxsize=1)
def _shared_pool(_process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="s3-parts")


def _split(start: int, length: int) -> list[tuple[int, int]]:
    """The range in parts of `PART_BYTES` and a rest."""
    end = start + length
    return [(at, min(PART_BYTES, end - at)) for at in range(start, end, PART_BYTES)]
