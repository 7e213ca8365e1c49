"""The monitor: wishes count within a round, the state tells how far it is, a failing store stops nothing."""

import asyncio
import json

import pytest

from rayograph.errors import DataError, StoppedError, StorageError
from rayograph.generation import monitor as module
from rayograph.generation.dispatcher import DeadLetter, Window
from rayograph.generation.monitor import Monitor
from rayograph.generation.tally import Tally
from rayograph.runs.artifact import MANIFEST, Artifact
from rayograph.sampling.job_state import CONTROL, DEAD, STATE, ask, read_state, wanted
from rayograph.sampling.requests.plan import Unit
from rayograph.storage import open_store


@pytest.fixture(autouse=True)
def swift(monkeypatch):
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.001)


@pytest.fixture
def artifact(tmp_path):
    return Artifact(open_store(str(tmp_path)), "job/sample/key")


def monitor(artifact, share=lambda left: 3, replicas=lambda: 2, broken=lambda: None, price=36.0, shown=lambda: None):
    return Monitor(artifact, Tally(100, 10), Window(), 4, price, 2, share, replicas, broken, shown)


def watched(monitor, *steps):
    """Let it look around, a step between any two rounds: done before the next; then it is cancelled."""
    waiting = list(steps)

    async def work():
        watching = asyncio.create_task(monitor.watch())
        rounds = asyncio.Semaphore(0)
        before, monitor.shown = monitor.shown, rounds.release
        for step in waiting:
            await asyncio.wait({asyncio.create_task(rounds.acquire()), watching}, return_when=asyncio.FIRST_COMPLETED)
            before()
            step()
            await asyncio.wait({asyncio.create_task(rounds.acquire()), watching}, return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        (ended,) = await asyncio.gather(watching, return_exceptions=True)
        if not isinstance(ended, asyncio.CancelledError | None):
            raise ended

    asyncio.run(work())


def test_a_pause_closes_the_window_within_a_round_and_resuming_opens_it(artifact):
    seen = []
    with monitor(artifact) as at_work:

        def look():
            seen.append((at_work.wanted, at_work.window.size, read_state(artifact).phase))

        look()
        watched(at_work, lambda: ask(artifact, "paused"), look, lambda: ask(artifact, "running"), look)
    assert seen == [("running", 6, "running"), ("paused", 0, "paused"), ("running", 6, "running")]


def test_a_job_that_is_asked_to_pause_before_it_starts_starts_paused(artifact):
    ask(artifact, "paused")
    with monitor(artifact) as at_work:
        assert at_work.window.size == 0
        assert read_state(artifact).phase == "paused"


def test_the_window_follows_the_share_which_is_asked_for_what_is_left(artifact):
    asked = []

    def share(left):
        asked.append(left)
        return left

    with monitor(artifact, share) as at_work:
        assert at_work.window.size == 20

        def complete():
            at_work.tally.units = 7

        watched(at_work, complete)
        assert at_work.window.size == 6
    assert (asked[0], asked[-1]) == (10, 3)


def test_the_state_tells_how_far_it_is_and_what_it_costs(artifact, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    at_work = monitor(artifact)
    with at_work:
        at_work.running = 2
        tally = at_work.tally
        tally.samples, tally.units, tally.sent_again, tally.device_seconds = 40, 4, 1, 7.5
        now[0] += 10
        state = at_work._state("running")
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
    with monitor(artifact) as first:
        first.tally.device_seconds, first.replica_seconds = 5.0, 3600.0
    with monitor(artifact) as second:
        assert second.tally.device_seconds == 5.0
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
        with monitor(artifact):
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
    at_work = monitor(artifact)
    with pytest.raises(StoppedError, match="cancelled; `rayograph resume`"), at_work:
        watched(at_work, lambda: None)
    assert at_work.window.size == 0
    assert read_state(artifact).phase == "cancelled"
    with monitor(artifact):
        pass
    assert read_state(artifact).phase == "done"


def test_replicas_that_cannot_start_end_the_job_with_the_reason(artifact):
    with (
        pytest.raises(DataError, match="its replicas cannot start: no GPU"),
        monitor(artifact, broken=lambda: "no GPU") as m,
    ):
        watched(m, lambda: None)
    assert read_state(artifact).phase == "failed"


def test_another_drivers_commit_ends_the_watch_even_where_no_replica_starts(artifact):
    artifact.write(MANIFEST, b"{}")
    with monitor(artifact, broken=lambda: "no GPU") as at_work:
        watched(at_work, lambda: None)
        assert (at_work.failure, at_work.overtaken) == (None, True)


def test_a_store_or_a_controller_that_fails_for_a_while_stops_nothing(artifact):
    failing = []

    def share(left):
        if failing:
            raise StorageError("away")
        return 3

    seen = []
    with monitor(artifact, share) as at_work:
        watched(
            at_work,
            lambda: failing.append(True),
            lambda: seen.append(at_work.window.size),
            lambda: ask(artifact, "paused"),  # heard though the shares are away
            lambda: seen.append(at_work.window.size),
            failing.clear,
        )
        assert at_work.window.size == 0
    assert seen == [6, 0]


def test_dead_letters_are_written_within_a_round_and_the_last_of_them_at_the_end(artifact):
    with monitor(artifact) as at_work:
        watched(at_work, lambda: at_work.tally.give_up(DeadLetter(Unit(2, 0, 8, 12), 3, "ValueError: no")))
        (name,) = artifact.names(DEAD)
        assert json.loads(artifact.read(name)) == {
            "unit": 2,
            "samples": [8, 12],
            "attempts": 3,
            "error": "ValueError: no",
        }
        at_work.tally.give_up(DeadLetter(Unit(3, 0, 12, 16), 1, "NonFiniteError: no"))
    assert len(artifact.names(DEAD)) == 2
    assert len(read_state(artifact).dead) == 2


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
