"""One contract, kept by every kind of store."""

import mmap
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from s3_servers import SECRET_KEY, S3Server

from rayograph.errors import MissingObjectError, StorageError
from rayograph.storage import ObjectInfo, ObjectStore, open_store


@pytest.fixture(params=["local", "memory", "moto", "ceph"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    match request.param:
        case "local":
            return open_store(str(tmp_path / "store"))
        case "memory":
            return open_store(f"memory://{uuid4().hex}/below")
        case name:
            server: S3Server = request.getfixturevalue(f"{name}_s3")
            return open_store(f"{server.new_bucket()}/some/prefix", server.endpoint_url)


def test_what_is_put_is_read_and_replaced(store: ObjectStore) -> None:
    for data in (b"first", b"", bytes(range(256)) * 1000):
        store.put("a/b/c.bin", data)
        assert store.read("a/b/c.bin") == data
        assert store.size("a/b/c.bin") == len(data)
        assert store.exists("a/b/c.bin")
    assert store.uri_of("a/b/c.bin") == f"{store.uri}/a/b/c.bin"


def test_folders_are_named_one_level_at_a_time_without_what_lies_in_them(store: ObjectStore) -> None:
    assert store.folders() == []
    for key in ("b/2/x", "b/1/x", "b/1/y/z", "a/x", "file", "b-b/x"):
        store.put(key, b"")
    assert store.folders() == ["a", "b", "b-b"]
    assert store.folders("b") == ["1", "2"]
    assert store.folders("b/1") == ["y"]
    assert store.folders("nowhere") == store.folders("b/2") == store.folders("file") == []


def test_list_is_sorted_by_key_at_every_depth_and_begins_with_the_prefix(store: ObjectStore) -> None:
    keys = ["a-b/c", "a.tar", "a/b/c", "a/b0", "a/z", "a0", "b", "ü/é"]
    for key in reversed(keys):
        store.put(key, key.encode())
    for prefix in ("", "a", "a-", "a/", "a/b", "a/b/", "a/b/c", "a/b/cd", "ab", "b", "b/", "ü", "ü/", "c", "c/d"):
        expected = [ObjectInfo(key, len(key.encode())) for key in keys if key.startswith(prefix)]
        assert list(store.list(prefix)) == expected, prefix


def test_ranges_are_exact_and_in_the_order_asked(store: ObjectStore) -> None:
    data = os.urandom(5000)
    store.put("shard", data)
    ranges = [(4000, 1000), (0, 1), (7, 0), (10, 2000), (9999, 0), (0, 5000)]
    assert store.read_ranges("shard", ranges) == [data[start : start + length] for start, length in ranges]
    assert store.read_range("shard", 17, 4) == data[17:21]
    assert store.read_ranges("shard", []) == []


@pytest.mark.parametrize("wrong", [(4999, 2), (5000, 1), (6000, 10), (-1, 2), (0, -1)])
def test_a_range_that_cannot_be_filled_is_an_error(store: ObjectStore, wrong: tuple[int, int]) -> None:
    store.put("shard", bytes(5000))
    with pytest.raises(StorageError, match=store.uri_of("shard")):
        store.read_ranges("shard", [(0, 10), wrong])


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    store.put("there/it/is", b"")
    for key in ("nowhere", "there/it", "there/it/is not"):
        for ask in (store.size, store.read, lambda key: store.read_range(key, 0, 1)):
            with pytest.raises(MissingObjectError, match=f"{store.uri_of(key)}: no such object"):
                ask(key)
        assert not store.exists(key)
        store.delete(key)
    assert [info.key for info in store.list()] == ["there/it/is"]
    store.delete("there/it/is")
    assert not store.exists("there/it/is")
    assert list(store.list()) == []


@pytest.mark.parametrize("key", ["", "a/", "a/.unfinished-1", "a\0b"])
def test_what_is_no_key_anywhere_is_refused(store: ObjectStore, key: str) -> None:
    refuses(store, key)


@pytest.mark.parametrize("store", ["local", "memory"], indirect=True)
@pytest.mark.parametrize("key", ["/a", "a//b", "../a", "a/../b", "a/."])
def test_a_key_that_could_leave_a_folder_is_refused(store: ObjectStore, key: str) -> None:
    refuses(store, key)
    with pytest.raises(StorageError, match="is no key"):
        store.list("../a")


def refuses(store: ObjectStore, key: str) -> None:
    for ask in (store.size, store.read, store.delete, store.exists):
        with pytest.raises(StorageError, match="is no key"):
            ask(key)
    for write in (store.put, store.put_if_absent):
        with pytest.raises(StorageError, match="is no key"):
            write(key, b"")


def test_a_pickled_store_works_and_holds_no_secret(store: ObjectStore) -> None:
    store.put("a", b"1")  # by now its client is open
    pickled = pickle.dumps(store)
    assert SECRET_KEY.encode() not in pickled
    again = pickle.loads(pickled)  # noqa: S301
    assert again.uri == store.uri
    assert again.read("a") == b"1"


def test_one_of_many_racers_creates_the_object(store: ObjectStore) -> None:
    start = threading.Barrier(8)

    def race(key: str, number: int) -> bool:
        start.wait()
        return store.put_if_absent(key, b"%d" % number * 1000)

    for key in ("commit-1", "commit-2", "deeper/commit"):
        with ThreadPoolExecutor(8) as racers:
            won = list(racers.map(race, [key] * 8, range(8)))
        assert won.count(True) == 1
        assert store.read(key) == b"%d" % won.index(True) * 1000
        assert [info.key for info in store.list(key)] == [key]


def test_a_reader_sees_the_old_object_or_the_new(store: ObjectStore) -> None:
    versions = [bytes([number]) * (200_000 - number * 50_000) for number in range(4)]
    store.put("manifest", versions[0])
    done = threading.Event()

    def replace() -> None:
        try:
            for turn in range(20):
                store.put("manifest", versions[turn % 4])
        finally:
            done.set()

    with ThreadPoolExecutor(1) as threads:
        writer = threads.submit(replace)
        while not done.is_set():
            assert store.read("manifest") in versions
        writer.result()


def test_check_access_passes_and_leaves_nothing(store: ObjectStore) -> None:
    store.check_access()
    assert list(store.backend.objects("")) == []  # hidden names too


@pytest.mark.parametrize("tail", [0, 1, 4095])
def test_what_goes_past_the_kernels_cache_comes_back_whole(tmp_path, tail):
    size = (9 << 20) + tail
    memory = mmap.mmap(-1, size)
    memory[:] = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    store = open_store(str(tmp_path))
    store.put("large", memoryview(memory))
    assert store.read("large") == memory[:]
    store.put("large", memoryview(memory)[1:])  # not on a page
    assert store.read("large") == memory[1:]
