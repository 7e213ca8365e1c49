"""S3 behind a proxy that breaks what passes: what can be mended arrives exactly, what cannot is told once and soon."""

import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from fault_proxy import Fault, FaultProxy, Script, at_random, fault_proxy
from s3_servers import S3Server

from rayograph.errors import MissingObjectError, StorageError
from rayograph.storage import ObjectStore, open_store, s3, s3_retries

STALL = Fault("stall", seconds=3600)  # as good as for ever: only the reader's own patience ends it
BROKEN = [
    Fault("error"),
    Fault("slow down"),
    Fault("reset"),
    Fault("reset", after=0),
    Fault("truncated"),
    Fault("truncated", after=0),
]
PART = 16_000
READ_TIMEOUT = 2.0
"""Where servers fall silent. Elsewhere it is out of reach: a busy machine must not seem to be a silent server."""


def named(fault: Fault) -> str:
    return fault.kind + ("" if fault.after is None else f" at {fault.after}") + (" accepted" if fault.accepted else "")


@pytest.fixture(params=["moto", "ceph"])
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(f"{request.param}_s3")
    return found


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", PART)
    monkeypatch.setattr(s3, "READ_TIMEOUT_SECONDS", 300.0)
    monkeypatch.setattr(s3_retries, "BACK_OFF_SECONDS", 0.005)
    monkeypatch.setattr(s3_retries, "SLOW_DOWN_SECONDS", 0.005)
    monkeypatch.setattr(s3_retries, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(s3_retries, "_answered", set())  # a port may have been another server's before


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "READ_TIMEOUT_SECONDS", READ_TIMEOUT)


@contextmanager
def broken_store(server: S3Server, faults: Script) -> Iterator[tuple[ObjectStore, ObjectStore, FaultProxy]]:
    """A fresh store, as it is and through the proxy."""
    bucket = f"{server.new_bucket()}/some/prefix"
    with fault_proxy(server.endpoint_url, faults) as proxy:
        yield open_store(bucket, server.endpoint_url), open_store(bucket, proxy.url), proxy


def first(times: int, fault: Fault, *methods: str) -> Script:
    """Breaks every request of these methods that often."""
    return lambda method, path, ranged, attempt: fault if method in methods and attempt < times else None


def always(*faults: Fault) -> Script:
    """Breaks every request, by each of these in turn."""
    return lambda method, path, ranged, attempt: faults[attempt % len(faults)]


@pytest.mark.parametrize("fault", BROKEN, ids=named)
def test_whole_objects_and_ranges_outlive_each_fault(server: S3Server, fault: Fault) -> None:
    outlive(server, fault, times=3)


@pytest.mark.usefixtures("impatient")
def test_whole_objects_and_ranges_outlive_silence(any_s3: S3Server) -> None:
    outlive(any_s3, STALL, times=1)


def outlive(server: S3Server, fault: Fault, times: int) -> None:
    data = random.Random(1).randbytes(PART * 3 + 100)
    ranges = [(0, 10), (PART + 1, PART), (100, PART * 2), (len(data) - 1, 1), (5, 0)]
    with broken_store(server, first(times, fault, "GET")) as (direct, store, proxy):
        direct.put("a/shard", data)
        direct.put("a/empty", b"")
        assert store.read("a/shard") == data
        assert store.read_ranges("a/shard", ranges) == [data[start : start + length] for start, length in ranges]
        assert store.read("a/empty") == b""
        assert [(info.key, info.size) for info in store.list()] == [("a/empty", 0), ("a/shard", len(data))]
        with pytest.raises(MissingObjectError):
            store.read("a/missing")
    # Each was asked for until it came, and nothing that had come was asked for again for another's sake. Of a refusal,
    # that there is no such thing, the first line suffices.
    asked = [times for (_, path, _), times in proxy.asked.items() if not path.endswith(("/a/empty", "/a/missing"))]
    assert set(asked) == {times + 1}
    assert proxy.injected[fault.kind] >= times * len(asked)


@pytest.mark.usefixtures("impatient")
def test_many_readers_outlive_all_faults_together(any_s3: S3Server) -> None:
    draws = random.Random(2)
    data = draws.randbytes(PART * 20)
    wanted = []
    for _ in range(60):
        starts = [draws.randrange(len(data) - 1) for _ in range(4)]
        wanted.append([(start, draws.randint(1, min(PART * 2, len(data) - start))) for start in starts])
    chances = dict.fromkeys(BROKEN, 0.06) | {STALL: 0.02}

    with broken_store(any_s3, at_random(seed=3, chances=chances)) as (direct, store, proxy):
        direct.put("shard", data)
        with ThreadPoolExecutor(16) as readers:
            whole = readers.submit(store.read, "shard")
            answers = list(readers.map(lambda ranges: store.read_ranges("shard", ranges), wanted))
            assert whole.result() == data
    assert answers == [[data[start : start + length] for start, length in ranges] for ranges in wanted]
    assert set(proxy.injected) == {fault.kind for fault in (*BROKEN, STALL)}
    assert sum(proxy.injected.values()) > 80


@pytest.mark.usefixtures("impatient")
def test_a_part_that_stalls_is_cut_short_and_keeps_no_other(any_s3: S3Server) -> None:
    data = os.urandom(PART * 8)
    slow = f"bytes={PART * 3}-{PART * 4 - 1}"

    def stall_once(method: str, path: str, ranged: str | None, attempt: int) -> Fault | None:
        return STALL if ranged == slow and attempt == 0 else None

    with broken_store(any_s3, stall_once) as (direct, store, proxy):
        direct.put("shard", data)
        began = time.monotonic()
        assert store.read("shard") == data
        assert time.monotonic() - began >= READ_TIMEOUT
    assert {ranged: times for (_, _, ranged), times in proxy.asked.items() if times > 1} == {slow: 2}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset"),
        Fault("truncated"),
        Fault("error"),
        Fault("slow down"),
        Fault("error", accepted=True),
        Fault("slow down", accepted=True),
    ],
    ids=named,
)
def test_a_create_whose_answer_is_lost_happens_once(server: S3Server, fault: Fault) -> None:
    create_once(server, fault)


@pytest.mark.usefixtures("impatient")
def test_a_create_whose_answer_never_comes_happens_once(any_s3: S3Server) -> None:
    create_once(any_s3, STALL)


def create_once(server: S3Server, fault: Fault) -> None:
    with broken_store(server, first(2, fault, "PUT")) as (direct, store, proxy):
        assert store.put_if_absent("commit", b"ours")
        assert not store.put_if_absent("commit", b"theirs")
        assert direct.read("commit") == b"ours"
        store.put("file", b"x" * 100_000)
        assert direct.read("file") == b"x" * 100_000
    assert proxy.injected[fault.kind] == 4


def test_one_of_many_racers_creates_the_object_though_answers_are_lost(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 20)  # the racers' requests are alike: chance alone says whose are broken
    lost = {Fault("reset"): 0.25, Fault("error", accepted=True): 0.15, Fault("slow down"): 0.1}
    script = at_random(seed=4, chances=lost, methods=("PUT", "HEAD"))
    with broken_store(server, script) as (direct, store, proxy), ThreadPoolExecutor(8) as racers:
        for key in ("commit-1", "commit-2", "commit-3"):
            won = list(racers.map(lambda number, key=key: store.put_if_absent(key, b"%d" % number), range(8)))
            assert won.count(True) == 1
            assert direct.read(key) == b"%d" % won.index(True)
        assert [info.key for info in direct.list()] == ["commit-1", "commit-2", "commit-3"]
    assert proxy.injected["reset"] > 5


ASKED: dict[str, Callable[[ObjectStore], object]] = {
    r"/shard: read of bytes 0-15999": lambda store: store.read("shard"),
    r"/shard: read of bytes 7-16006": lambda store: store.read_ranges("shard", [(7, PART * 3)]),
    r"/shard: size": lambda store: store.size("shard"),
    r"/shard: put": lambda store: store.put("shard", b"new"),
    r"/shard: put if absent": lambda store: store.put_if_absent("shard", b"new"),
    r"/shard: delete": lambda store: store.delete("shard"),
    r": list": lambda store: list(store.list()),
}


@pytest.mark.parametrize("asked", ASKED)
def test_a_server_that_always_fails_is_told_once_and_soon(moto_s3: S3Server, asked: str) -> None:
    with broken_store(moto_s3, always(Fault("error"))) as (direct, store, proxy):
        direct.put("shard", bytes(PART * 4))
        with pytest.raises(StorageError) as failure:
            ASKED[asked](store)
        direct.put("shard", b"works on")
    reason = "500 Internal Server Error" if asked.endswith(("size", "list")) else "500 InternalError"
    assert str(failure.value).startswith(f"{store.uri}{asked} failed (500 Internal")
    assert "\n" not in str(failure.value)
    assert f", after {reason.split()[0]} Internal" in str(failure.value)
    assert str(failure.value).endswith("×7")
    assert max(proxy.asked.values()) == s3.ATTEMPTS


@pytest.mark.usefixtures("impatient")
def test_the_last_failure_is_told_with_those_before(moto_s3: S3Server) -> None:
    turns = [Fault("slow down"), Fault("slow down"), Fault("reset"), Fault("truncated"), STALL, Fault("error")] * 2
    with broken_store(moto_s3, always(*turns)) as (direct, store, _):
        direct.put("shard", bytes(100))
        with pytest.raises(StorageError) as failure:
            store.read_range("shard", 10, 50)
    assert str(failure.value).startswith(f"{store.uri}/shard: read of bytes 10-59 failed (503 SlowDown): attempt 8 in ")
    for text in ("after 503 SlowDown ×2, ", "the server fell silent, 500 InternalError, 503 SlowDown"):
        assert text in str(failure.value)


@pytest.mark.parametrize("kind", ["error", "slow down", "reset"])
def test_a_server_that_answered_before_is_given_time(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A restart of its gateway, a bad minute: more failures than attempts."""
    monkeypatch.setattr(s3_retries, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(s3_retries, "LONGEST_BACK_OFF_SECONDS", 0.02)
    data = os.urandom(1000)
    with broken_store(moto_s3, first(5 * s3.ATTEMPTS, Fault(kind), "GET")) as (_, store, proxy):
        store.put("shard", data)
        assert store.read_range("shard", 0, 1000) == data
    assert proxy.injected[kind] == 5 * s3.ATTEMPTS


def test_a_server_that_never_answered_is_left_soon_but_not_for_asking_to_wait(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_retries, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(s3_retries, "LONGEST_BACK_OFF_SECONDS", 0.02)
    with broken_store(moto_s3, always(Fault("error"))) as (direct, store, proxy):
        direct.put("shard", b"data")
        with pytest.raises(StorageError, match="attempt 8 in"):
            store.read("shard")
    with broken_store(moto_s3, first(5 * s3.ATTEMPTS, Fault("slow down"), "GET")) as (direct, store, proxy):
        direct.put("shard", b"data")
        assert store.read("shard") == b"data"
    assert proxy.injected["slow down"] == 5 * s3.ATTEMPTS


@pytest.mark.usefixtures("impatient")
def test_a_server_that_always_stalls_is_left(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 3)
    with broken_store(moto_s3, always(STALL)) as (direct, store, _):
        direct.put("shard", bytes(100))
        with pytest.raises(StorageError, match=r"/shard: read of bytes 0-99 failed \(the server fell silent\)"):
            store.read_range("shard", 0, 100)


def test_wrong_bytes_are_for_checksums_to_find(server: S3Server) -> None:
    """No server's answer tells of them, so storage returns them; asked for again, the right ones may come."""
    data = os.urandom(1000)
    with broken_store(server, first(1, Fault("wrong bytes"), "GET")) as (direct, store, _):
        direct.put("shard", data)
        wrong = store.read_range("shard", 0, 1000)
        assert len(wrong) == 1000
        assert wrong != data
        assert store.read_range("shard", 0, 1000) == data


def test_undisturbed_requests_keep_their_connection(ceph_s3: S3Server) -> None:
    """moto would close each."""
    data = os.urandom(2_000_000)
    with broken_store(ceph_s3, lambda *_: None) as (direct, store, proxy):
        store.put("shard", data)
        assert direct.read("shard") == data
        for start in range(50):
            assert store.read_range("shard", start, 100) == data[start : start + 100]
        assert store.read("shard") == data
    assert proxy.connections <= 1 + s3.PARTS_AT_ONCE
    assert not proxy.injected


def test_waits_grow_are_random_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    longest: list[float] = []
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(random, "uniform", lambda low, high: longest.append(high) or low)
    for attempt in range(9):
        s3_retries.back_off(attempt)
    assert longest == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0])
