"""What S3 adds to the contract of the stores: refusals told clearly, and servers that fail outlived."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from s3_servers import Faulty, S3Server, faulty_server

from rayograph.errors import MissingObjectError, StorageError
from rayograph.storage import ObjectStore, open_store, s3, s3_retries


@pytest.fixture
def moto_store(moto_s3: S3Server) -> ObjectStore:
    return open_store(moto_s3.new_bucket(), moto_s3.endpoint_url)


@contextmanager
def during(event: str, handler: Callable[..., None], store: ObjectStore) -> Iterator[None]:
    """Has boto3 call `handler` at every such event, as another program's doings would come in between."""
    assert isinstance(store.backend, s3.S3Prefix)
    events = store.backend._client.meta.events
    events.register(event, handler)
    try:
        yield
    finally:
        events.unregister(event, handler)


def test_access_to_a_missing_bucket_or_a_closed_port_is_told(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/a: list failed \(404 NoSuchBucket\)"):
        open_store("s3://no-such-bucket/a", moto_s3.endpoint_url).check_access()
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    with socket.socket() as taken:  # by somebody who does not listen
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StorageError, match=f"s3://bucket: list failed: nothing answers at {closed}"):
            open_store("s3://bucket", closed).check_access()
    with pytest.raises(StorageError, match=r"s3://bucket: open failed \(Invalid endpoint: no-url\)"):
        open_store("s3://bucket", "no-url").check_access()


def test_access_without_credentials_or_with_wrong_ones_is_told(
    ceph_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = ceph_s3.new_bucket()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StorageError, match=r"list was refused \(403 SignatureDoesNotMatch\): check the credentials"):
        open_store(bucket, ceph_s3.endpoint_url).check_access()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unknown")
    with pytest.raises(StorageError, match=r"list was refused \(403 InvalidAccessKeyId\): check the credentials"):
        open_store(bucket, ceph_s3.endpoint_url).check_access()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="list failed: no credentials found"):
        open_store(bucket, ceph_s3.endpoint_url).check_access()


def test_a_server_that_ignores_if_none_match_is_refused(moto_store: ObjectStore) -> None:
    def forget(params: dict[str, Any], **_: object) -> None:
        params["headers"].pop("If-None-Match", None)

    with (
        during("before-call.s3.PutObject", forget, moto_store),
        pytest.raises(StorageError, match="would not be exactly once"),
    ):
        moto_store.check_access()
    assert list(moto_store.backend.objects("")) == []


def test_big_objects_are_read_in_parts(moto_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 1000)
    for size in (999, 1000, 1001, 7500):
        data = os.urandom(size)
        moto_store.put("big", data)
        assert moto_store.read("big") == data
        assert moto_store.read_ranges("big", [(3, size - 3), (0, 5)]) == [data[3:], data[:5]]


@pytest.mark.parametrize("size", [2500, 1500, 500, 0])
def test_parts_of_two_versions_are_never_joined(
    moto_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 1000)
    moto_store.put("big", b"1" * 2500)
    answered = []

    def replace(**_: object) -> None:
        answered.append(1)
        if len(answered) == 1:
            moto_store.put("big", b"2" * size)

    with during("after-call.s3.GetObject", replace, moto_store):
        assert moto_store.read("big") == b"2" * size


def test_a_body_that_breaks_off_is_asked_for_again(moto_s3: S3Server) -> None:
    ranged = {"Content-Range": "bytes 0-9/10", "ETag": "e"}

    def cut(request: Faulty) -> None:
        request.answer(206, {**ranged, "Content-Length": "10"}, b"0123")
        request.hang_up()

    with faulty_server(cut, cut, lambda request: request.answer(206, ranged, b"0123456789")) as server:
        assert open_store("s3://bucket", server.endpoint_url).read_range("a", 0, 10) == b"0123456789"


def test_a_body_shorter_than_its_range_is_asked_for_again(moto_s3: S3Server) -> None:
    ranged = {"Content-Range": "bytes 0-9/10", "ETag": "e"}
    steps = [
        lambda request: request.answer(206, ranged, b"0123"),
        lambda request: request.answer(206, ranged, b"9" * 10),
    ]
    with faulty_server(*steps) as server:
        assert open_store("s3://bucket", server.endpoint_url).read("a") == b"9" * 10


def test_a_list_without_its_end_is_asked_for_again(moto_s3: S3Server) -> None:
    page = (
        b"<ListBucketResult><IsTruncated>%s</IsTruncated><Contents><Key>%s</Key><Size>7</Size></Contents>"
        b"<NextContinuationToken>t</NextContinuationToken></ListBucketResult>"
    )
    steps = [b"", page % (b"true", b"a"), b"", page[:70], page % (b"false", b"b")]
    with faulty_server(*(lambda request, body=body: request.answer(200, {}, body) for body in steps)) as server:
        found = open_store("s3://bucket", server.endpoint_url).list()
        assert [(info.key, info.size) for info in found] == [("a", 7), ("b", 7)]


def test_a_forked_process_has_connections_of_its_own(moto_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(moto_store.backend, s3.S3Prefix)
    ours = moto_store.backend._client
    assert moto_store.backend._client is ours
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert moto_store.backend._client is not ours


def test_a_create_in_conflict_is_tried_again(moto_s3: S3Server) -> None:
    steps = [lambda request: request.answer(409, {}), lambda request: request.answer(200, {})]
    with faulty_server(*steps) as server:
        assert open_store("s3://bucket", server.endpoint_url).put_if_absent("a", b"data")


@pytest.mark.parametrize("ours", [True, False])
def test_a_create_whose_answer_was_lost_is_known_by_its_writer(moto_s3: S3Server, ours: bool) -> None:
    writers = []

    def create_and_lose_the_answer(request: Faulty) -> None:
        writers.append(request.headers["x-amz-meta-rayograph-writer"] if ours else "another")
        request.hang_up()

    def tell(request: Faulty) -> None:
        request.answer(200, {"x-amz-meta-rayograph-writer": writers[0]})

    with faulty_server(create_and_lose_the_answer, lambda request: request.answer(412, {}), tell) as server:
        assert open_store("s3://bucket", server.endpoint_url).put_if_absent("a", b"data") is ours


def test_a_missing_object_and_a_failing_server_differ(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    monkeypatch.setattr(s3_retries, "PATIENCE_SECONDS", 0.0)
    steps = [lambda request: request.answer(503, {})] * 2 + [lambda request: request.answer(404, {})]
    with faulty_server(*steps) as server:
        store = open_store("s3://bucket", server.endpoint_url)
        with pytest.raises(StorageError, match=r"s3://bucket/a: size failed \(503 Service Unavailable\)"):
            store.exists("a")
        with pytest.raises(MissingObjectError):
            store.size("a")
