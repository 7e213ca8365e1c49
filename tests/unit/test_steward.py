"""The steward: wishes count within a round, the state tells how far it is, a failing store stops nothing."""

import threading

import pytest

from rayograph.errors import DataError, StoppedError, StorageError
from rayograph.generation import monitor as module
from rayograph.generation.monitor import Steward
from rayograph.runs.artifact import MANIFEST, Artifact
from rayograph.sampling.job_state import CONTROL, STATE, ask, read_state, wanted
from rayograph.storage import open_store


@pytest.fixture(autouse=True)
def swift(monkeypatch):
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.01)


@pytest.fixture
def artifact(tmp_path):
    return Artifact(open_store(str(tmp_path)), "job/sample/key")


def steward(artifact, share=lambda left: 3, replicas=lambda: 2, broken=lambda: None, price=36.0):
    return Steward(artifact, 100, 10, 4, price, 2, share, replicas, broken)


class Rounds:
    """Waits until the steward has looked around so often from now on."""

    def __init__(self):
        self._seen = threading.Semaphore(0)

    def __call__(self):
        self._seen.release()
        return 2

    def wait(self, count=3):
        while self._seen.acquire(blocking=False):
            pass
        for _ in range(count):
            assert self._seen.acquire(timeout=600)


def test_a_pause_closes_the_window_within_a_round_and_resuming_opens_it(artifact):
    rounds = Rounds()
    with steward(artifact, replicas=rounds) as at_work:
        assert at_work.window() == 6
        ask(artifact, "paused")
        rounds.wait()
        assert (at_work.wanted, at_work.window(), read_state(artifact).phase) == ("paused", 0, "paused")
        ask(artifact, "running")
        rounds.wait()
        assert (at_work.wanted, at_work.window(), read_state(artifact).phase) == ("running", 6, "running")


def test_a_job_that_is_asked_to_pause_before_it_starts_starts_paused(artifact, monkeypatch):
    monkeypatch.setattr(module, "ROUND_SECONDS", 60)
    ask(artifact, "paused")
    with steward(artifact) as at_work:
        assert at_work.window() == 0
        assert read_state(artifact).phase == "paused"


def test_the_window_follows_the_share_which_is_asked_for_what_is_left(artifact):
    rounds, asked = Rounds(), []

    def share(left):
        asked.append(left)
        return left

    with steward(artifact, share, rounds) as at_work:
        assert at_work.window() == 20
        at_work.units = 7
        rounds.wait()
        assert at_work.window() == 6
    assert (asked[0], asked[-1]) == (10, 3)


def test_the_state_tells_how_far_it_is_and_what_it_costs(artifact, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "ROUND_SECONDS", 60)
    at_work = steward(artifact)
    with at_work:
        at_work._running = 2
        at_work.samples, at_work.units, at_work.lost, at_work.device_seconds = 40, 4, 1, 7.5
        now[0] += 10
        at_work._write("running")
        state = read_state(artifact)
    assert (state.phase, state.samples, state.total_samples, state.units, state.total_units) == (
        "running",
        40,
        100,
        4,
        10,
    )
    assert (state.images_per_second, state.seconds_left) == (4.0, 15.0)
    assert (state.replicas, state.replica_seconds, state.money) == (2, 20.0, 0.2)
    assert (state.priority, state.lost, state.device_seconds) == (4, 1, 7.5)


def test_costs_of_an_earlier_attempt_count_on(artifact):
    with steward(artifact) as first:
        first.device_seconds, first.replica_seconds = 5.0, 3600.0
    with steward(artifact) as second:
        assert second.device_seconds == 5.0
        assert second.money >= 36.0


@pytest.mark.parametrize(
    ("error", "phase", "said"),
    [
        (None, "done", None),
        (DataError("one line"), "failed", "one line"),
        (ValueError("inner\nsecond"), "failed", "ValueError: inner"),
        (RuntimeError(), "failed", "RuntimeError: "),
        (KeyboardInterrupt(), "interrupted", None),
    ],
)
def test_the_last_word_is_how_it_ended(artifact, error, phase, said):
    def work():
        with steward(artifact):
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    state = read_state(artifact)
    assert (state.phase, state.error) == (phase, said)


def test_a_cancelled_job_ends_cancelled_unless_it_was_done_already(artifact):
    ask(artifact, "cancelled")
    at_work = steward(artifact)
    with pytest.raises(StoppedError), at_work:
        raise StoppedError("cancelled")
    assert at_work.window() == 0
    assert read_state(artifact).phase == "cancelled"
    with steward(artifact):
        pass
    assert read_state(artifact).phase == "done"


def test_another_drivers_commit_and_replicas_that_cannot_start_are_noticed(artifact):
    rounds = Rounds()
    with steward(artifact, replicas=rounds, broken=lambda: "no GPU") as at_work:
        rounds.wait()
        assert (at_work.failure, at_work.overtaken) == ("no GPU", False)
        artifact.write(MANIFEST, b"{}")
        rounds.wait()
        assert (at_work.failure, at_work.overtaken) == (None, True)


def test_a_store_or_a_controller_that_fails_for_a_while_stops_nothing(artifact):
    failing, rounds, tried = threading.Event(), Rounds(), threading.Semaphore(0)

    def share(left):
        if failing.is_set():
            tried.release()
            raise StorageError("away")
        return 3

    with steward(artifact, share, rounds) as at_work:
        failing.set()
        assert tried.acquire(timeout=600)
        assert tried.acquire(timeout=600)
        assert at_work.window() == 6
        failing.clear()
        ask(artifact, "paused")
        rounds.wait()
        assert at_work.window() == 0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "expected a JSON object"),
        (b"[]", "expected a JSON object"),
        (b'{"wanted": "faster"}', "wanted: expected running, paused or cancelled, got 'faster'"),
        (b"{}", "got None"),
    ],
)
def test_a_wish_that_cannot_be_read_is_one_line(artifact, data, said):
    artifact.write(CONTROL, data)
    with pytest.raises(DataError, match=said) as caught:
        wanted(artifact)
    assert "\n" not in str(caught.value)


def test_a_state_of_something_else_is_one_line(artifact):
    assert read_state(artifact) is None
    artifact.write(STATE, b'{"phase": "asleep"}')
    with pytest.raises(DataError, match=r"state\.json: "):
        read_state(artifact)
