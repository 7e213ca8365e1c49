"""The coordinator: as many units in flight as may be, lost ones again, hopeless ones aside, and none twice."""

import asyncio
import itertools
import signal
import warnings
from collections import Counter

import pytest

from rayograph.generation import dispatcher as module
from rayograph.generation.dispatcher import Coordinator, SetAside, Tick, back_off
from rayograph.models.finite import NonFiniteError
from rayograph.runs.manifest import ShardRecord
from rayograph.sampling.requests.plan import Unit
from rayograph.sampling.work_unit import Landed


@pytest.fixture(autouse=True)
def swift(monkeypatch):
    monkeypatch.setattr(module, "TICK_SECONDS", 0.01)


def units(count):
    return (Unit(n, 0, 4 * n, 4 * n + 4) for n in range(count))


def landed(unit):
    return Landed(unit.number, (), ShardRecord(path=unit.shard, split="samples", samples=len(unit)))


class Replicas:
    """Notes what is sent; `fails` says whether the n-th time of a unit fails."""

    def __init__(self, fails=lambda number, time: False, seconds=0.001):
        self.fails, self.seconds = fails, seconds
        self.sent, self.flying, self.most, self.cancelled = Counter(), set(), 0, set()

    async def __call__(self, unit):
        self.sent[unit.number] += 1
        assert unit.number not in self.flying
        self.flying.add(unit.number)
        self.most = max(self.most, len(self.flying))
        try:
            await asyncio.sleep(self.seconds * (1 + unit.number % 3))
            if self.fails(unit.number, self.sent[unit.number]):
                raise RuntimeError(f"traceback\n  of many lines\nreplica {unit.number} died\n")
        except asyncio.CancelledError:
            self.cancelled.add(unit.number)
            raise
        finally:
            self.flying.discard(unit.number)
        return landed(unit)


def coordinator(replicas, window=4, max_attempts=3):
    return Coordinator(replicas, window if callable(window) else lambda: window, max_attempts, lambda attempt: 0.0)


def ends(events):
    return [event for event in events if not isinstance(event, Tick)]


@pytest.mark.parametrize("window", [1, 3, 100])
def test_every_unit_lands_once_and_no_more_fly_than_may(window):
    replicas = Replicas()
    found = ends(coordinator(replicas, window).run(units(20)))
    assert sorted(event.unit for event in found) == list(range(20))
    assert set(replicas.sent.values()) == {1}
    assert replicas.most <= window
    assert replicas.most == min(window, 20)


def test_the_window_is_heeded_from_moment_to_moment():
    replicas, allowed = Replicas(), [1]
    events = coordinator(replicas, lambda: allowed[0]).run(units(60))
    seen = []
    for phase in (1, 5, 2):
        allowed[0] = phase
        for _ in range(8):  # what was sent under the wider window comes back
            next(events)
        replicas.most = 0
        for _ in range(12):
            next(events)
        seen.append(replicas.most)
    events.close()
    assert seen[0] <= 1
    assert 2 < seen[1] <= 5
    assert seen[2] <= 2


def test_a_window_of_none_is_a_pause_with_ticks_and_a_wider_one_goes_on():
    replicas, allowed = Replicas(), [0]
    events = coordinator(replicas, lambda: allowed[0]).run(units(3))
    assert [next(events) for _ in range(5)] == [Tick(0, 0)] * 5
    assert not replicas.sent
    allowed[0] = 2
    assert len(ends(events)) == 3


def test_nothing_new_is_sent_in_a_pause_and_what_flies_still_lands():
    replicas, allowed = Replicas(), [2]
    found = []
    for event in coordinator(replicas, lambda: allowed[0]).run(units(9)):
        found.append(event)
        if len(ends(found)) == 1:
            allowed[0], before = 0, sum(replicas.sent.values())
        if isinstance(event, Tick) and event.flying == 0 and allowed[0] == 0 and ends(found):
            assert sum(replicas.sent.values()) == before
            break
    assert len(ends(found)) == 2


def test_a_lost_unit_is_sent_again_until_it_lands_and_counted():
    replicas = Replicas(lambda number, time: number % 2 == 0 and time < 3)
    found = list(coordinator(replicas).run(units(6)))
    assert sorted(event.unit for event in ends(found)) == list(range(6))
    assert replicas.sent == {0: 3, 1: 1, 2: 3, 3: 1, 4: 3, 5: 1}
    assert found[-1] == Tick(6, 0)


def test_a_unit_that_always_fails_is_set_aside_with_one_line_and_the_others_land():
    replicas = Replicas(lambda number, time: number == 2)
    found = ends(coordinator(replicas).run(units(5)))
    (aside,) = (event for event in found if isinstance(event, SetAside))
    assert (aside.unit.number, aside.attempts, aside.error) == (2, 3, "RuntimeError: replica 2 died")
    assert replicas.sent[2] == 3
    assert len(found) == 5


def test_an_error_of_a_remote_task_is_told_by_its_cause_and_a_call_that_cannot_even_be_made_counts_too():
    class RemoteError(Exception):
        cause = ValueError("inner\nline")

    def refuse(unit):
        raise RemoteError("outer")

    (aside,) = ends(coordinator(refuse).run(units(1)))
    assert aside.error == "ValueError: line"


def test_units_are_taken_no_faster_than_they_are_sent():
    taken = []

    def endless():
        for number in itertools.count():
            taken.append(number)
            yield Unit(number, 0, number, number + 1)

    events = coordinator(Replicas(), 3).run(endless())
    found = [event for event, _ in zip(events, range(40), strict=False)]
    events.close()
    assert len(taken) <= len(ends(found)) + 3 + 1


def test_whoever_stops_listening_cancels_what_flies_and_leaves_no_task_behind():
    replicas = Replicas(seconds=30)
    events = coordinator(replicas, 3).run(units(9))
    assert next(events) == Tick(0, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        events.close()
    assert replicas.cancelled == {0, 1, 2}
    assert not replicas.flying


def test_an_interrupt_while_it_waits_comes_through_as_one():
    replicas = Replicas(seconds=30)

    async def interrupted(unit):
        asyncio.get_running_loop().call_later(0.02, signal.raise_signal, signal.SIGUSR1)
        return await replicas(unit)

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(coordinator(interrupted, 2).run(units(1)))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not replicas.flying


def test_attempts_wait_longer_each_time_and_never_for_ever():
    waits = [back_off(attempt) for attempt in range(2, 20)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.8, 10.0)


class RemoteError(Exception):
    """As Ray hands one on: what went wrong is its `cause`."""

    def __init__(self, cause):
        super().__init__("traceback")
        self.cause = cause


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_unit_with_a_sample_that_is_not_finite_is_set_aside_at_once_by_the_samples_name(wrapped):
    tries = Counter()

    async def replica(unit):
        tries[unit.number] += 1
        if unit.number == 1:
            error = NonFiniteError("sample 6: expected finite latents and pixels, got nan or infinity")
            raise RemoteError(error) if wrapped else error
        return landed(unit)

    made = ends(coordinator(replica).run(units(3)))
    (aside,) = (event for event in made if isinstance(event, SetAside))
    assert (aside.unit.number, aside.attempts, tries[1]) == (1, 1, 1)
    assert aside.error.startswith("NonFiniteError: sample 6: expected finite")
    assert len(made) == 3
