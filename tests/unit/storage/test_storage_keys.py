"""A key that a store lists is an object of that store and of no other place, whatever it looks like."""

import os
import pickle
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from s3_servers import S3Server

from rayograph.config.reading.files import load_scale
from rayograph.config.s3_access import S3, S3Access
from rayograph.errors import ConfigError, MissingObjectError, StorageError
from rayograph.storage import ObjectStore, open_store

ODD = (
    *("p//x", "/lead", "//two", "a/../y", "../y", "..", ".", "./x", "a/./b", "~", "~/x", "x\\y"),
    *("s3://other/key", "https://host/x?y=1#z", "file:///etc/hostname", "%2e", "%2e%2e/x", "a b+c", "a::b"),
    *("é", "caf\x01", "*?[0]", "q?versionId=1", "\u2028", "a&b=<c>"),
)
ASTRAY = tuple(key for key in ODD if any(part in ("", ".", "..") for part in key.split("/")))
PLAIN = tuple(key for key in ODD if key not in (*ASTRAY, "~/x"))
"""Those that can be files below a folder; the file ~ is one."""


@pytest.mark.parametrize("which", ["moto_s3", "ceph_s3"])
def test_odd_keys_are_objects_like_others(which: str, request: pytest.FixtureRequest) -> None:
    server: S3Server = request.getfixturevalue(which)
    uri = server.new_bucket()
    client, bucket = server._client, uri.removeprefix("s3://")
    client.put_object(Bucket=bucket, Key="y", Body=b"outside")
    for key in ODD:
        client.put_object(Bucket=bucket, Key=f"p/{key}", Body=key.encode())
    client.put_object(Bucket=bucket, Key="p/folder/", Body=b"")
    store = open_store(f"{uri}/p", server.endpoint_url)
    found = {info.key: info.size for info in store.list()}
    assert found == {key: len(key.encode()) for key in ODD}
    for key in found:
        assert store.read(key) == key.encode()
        assert store.read_range(key, 0, 1) == key.encode()[:1]
        assert store.size(key) == found[key]
    for key in ODD:
        store.put(key, b"new")
        assert client.get_object(Bucket=bucket, Key=f"p/{key}")["Body"].read() == b"new"
        store.delete(key)
    assert list(store.list()) == []
    assert client.get_object(Bucket=bucket, Key="y")["Body"].read() == b"outside"


@pytest.mark.parametrize("scheme", ["plain", "local", "memory"])
def test_odd_names_of_files_are_files_of_that_folder(scheme: str, tmp_path: Path) -> None:
    if scheme == "memory":
        writer = store = open_store(f"memory://{uuid4().hex}/below")
    else:
        writer = open_store(str(tmp_path / "below"))
        store = writer if scheme == "plain" else open_store(f"local://{tmp_path}/below")
    for key in PLAIN:
        writer.put(key, key.encode())
    found = [info.key for info in store.list()]
    assert sorted(found) == sorted(PLAIN)
    assert [store.read(key).decode() for key in found] == found
    for key in ASTRAY:
        with pytest.raises(StorageError, match="is no key"):
            store.read(key)


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """A hang is a failure."""

    def hung(*_: object) -> None:
        pytest.fail("it hangs")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("scheme", ["", "local://"])
def test_only_regular_files_are_listed_and_read_and_nothing_hangs(scheme: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    os.mkfifo("pipe")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "null").symlink_to("/dev/zero")
    (tmp_path / "file").write_bytes(b"12")
    (tmp_path / "through").symlink_to("file/below")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        store = open_store(f"{scheme}{tmp_path}")
        with at_most(10):
            assert [info.key for info in store.list()] == ["file"]
            assert store.folders() == []
            for key in ("pipe", "nowhere", "circle", "null", "through", "socket", "x" * 300):
                for ask in (store.read, store.size, lambda key: store.read_range(key, 0, 1)):
                    with pytest.raises(MissingObjectError, match="no such object"):
                        ask(key)
                assert not store.exists(key)


def test_a_range_beyond_a_files_end_sets_no_memory_aside(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    with pytest.raises(StorageError, match="the object ends before"):
        open_store(str(tmp_path)).read_range("a", 1, 1 << 60)


def asked_of(store: ObjectStore) -> list:
    """The requests of a read, a listing and a size."""
    requests: list = []
    events = store.backend._client.meta.events  # type: ignore[attr-defined]

    def keep(request, **_) -> None:
        requests.append(request)

    events.register("before-send.s3", keep)
    try:
        store.read("a")
        list(store.list())
        store.size("a")
    finally:
        events.unregister("before-send.s3", keep)
    return requests


def test_a_bucket_is_asked_unsigned_and_with_its_reader_paying_where_that_is_said(moto_s3: S3Server) -> None:
    uri = moto_s3.new_bucket()
    bucket, client = uri.removeprefix("s3://"), moto_s3._client
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    client.put_object(Bucket=bucket, Key="a", Body=b"1", ACL="public-read")
    settings = S3(
        endpoint_url=moto_s3.endpoint_url,
        buckets={bucket: S3Access(unsigned=True, requester_pays=True)},
    )
    requests = asked_of(open_store(uri, settings))
    assert len(requests) == 3
    for request in requests:
        assert "Authorization" not in request.headers
        assert request.headers["x-amz-request-payer"] in ("requester", b"requester")
    for request in asked_of(open_store(uri, settings.model_copy(update={"buckets": {}}))):
        assert "Authorization" in request.headers
        assert "x-amz-request-payer" not in request.headers


def test_a_profile_says_how_buckets_are_asked_for_drivers_and_workers(tmp_path: Path) -> None:
    profile = tmp_path / "scale.yaml"
    profile.write_text(
        "endpoint_url: http://ours\n"
        "s3:\n  addressing: virtual\n  buckets:\n    public: {unsigned: true}\n"
        "    theirs: {requester_pays: true, endpoint_url: 'http://theirs'}\n"
    )
    access = load_scale(str(profile)).access
    found = {name: access.of(name) for name in ("mine", "public", "theirs")}
    assert found == {
        "mine": S3Access(addressing="virtual", endpoint_url="http://ours"),
        "public": S3Access(unsigned=True, endpoint_url="http://ours"),
        "theirs": S3Access(requester_pays=True, endpoint_url="http://theirs"),
    }
    for name, settings in found.items():
        store = pickle.loads(pickle.dumps(open_store(f"s3://{name}/a", access)))  # noqa: S301 - ours
        assert store.backend.access == settings
        assert store == open_store(f"s3://{name}/a", pickle.loads(pickle.dumps(access)))  # noqa: S301 - ours
    assert hash(access) == hash(load_scale(str(profile)).access)
    profile.write_text("s3: {adressing: path}\n")
    with pytest.raises(ConfigError, match="adressing"):
        load_scale(str(profile))


@pytest.mark.parametrize(
    ("addressing", "endpoint_url", "host"),
    [
        ("virtual", "http://localhost:1", "bucket.localhost:1/a"),
        ("path", "http://localhost:1", "localhost:1/bucket/a"),
        ("auto", "http://localhost:1", "localhost:1/bucket/a"),
        ("path", None, "s3.amazonaws.com/bucket/a"),
        ("auto", None, "bucket.s3.amazonaws.com/a"),
    ],
)
def test_a_buckets_name_stands_where_that_is_said(addressing, endpoint_url, host, monkeypatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = open_store("s3://bucket", S3(addressing=addressing, unsigned=True, endpoint_url=endpoint_url))
    url = store.backend._client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "a"})
    assert url.partition("://")[2].partition("?")[0] == host
