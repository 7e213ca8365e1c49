"""The dispatcher: as many units in flight as may be, lost ones again, hopeless ones given up, and none twice."""

import asyncio
import itertools
import signal
import warnings
from collections import Counter
from dataclasses import dataclass, field

import pytest
from ray.exceptions import RayTaskError

from rayograph.generation.dispatcher import DeadLetter, Dispatcher, Window, back_off
from rayograph.models.finite import NonFiniteError
from rayograph.runs.manifest import ShardRecord
from rayograph.sampling.requests.plan import Unit
from rayograph.sampling.work_unit import CompletedUnit


def units(count):
    return (Unit(n, 0, 4 * n, 4 * n + 4) for n in range(count))


def completed(unit):
    return CompletedUnit(unit.number, (), ShardRecord(path=unit.shard, split="samples", samples=len(unit)))


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
        return completed(unit)


@dataclass
class Job:
    """A dispatcher, and what it told of."""

    replicas: object
    window: Window = field(default_factory=lambda: Window(4))
    max_attempts: int = 3
    completed: list[int] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    again: int = 0

    def dispatcher(self):
        def send_again():
            self.again += 1

        def complete(unit):
            self.completed.append(unit.unit)

        return Dispatcher(
            self.replicas, self.window, self.max_attempts, complete, self.dead.append, send_again, lambda attempt: 0.0
        )

    def run(self, given):
        asyncio.run(self.dispatcher().run(given))
        return self

    async def until(self, condition):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize("window", [1, 3, 100])
def test_every_unit_completes_once_and_no_more_fly_than_may(window):
    replicas = Replicas()
    job = Job(replicas, Window(window)).run(units(20))
    assert sorted(job.completed) == list(range(20))
    assert set(replicas.sent.values()) == {1}
    assert replicas.most == min(window, 20)
    assert job.window.in_flight == 0


def test_the_window_is_heeded_from_moment_to_moment():
    replicas = Replicas()
    job = Job(replicas, Window(1))

    async def work():
        dispatching = asyncio.create_task(job.dispatcher().run(units(60)))
        seen = []
        for size in (1, 5, 2):
            job.window.resize(size)
            before = len(job.completed)
            await job.until(lambda before=before: len(job.completed) >= before + 8)  # what a wider window sent is back
            replicas.most = len(replicas.flying)
            await job.until(lambda before=before: len(job.completed) >= before + 18)
            seen.append(replicas.most)
        dispatching.cancel()
        await asyncio.gather(dispatching, return_exceptions=True)
        return seen

    assert asyncio.run(work()) == [1, 5, 2]


def test_a_window_of_none_is_a_pause_in_which_what_flies_still_completes_and_a_wider_one_goes_on():
    replicas = Replicas()
    job = Job(replicas, Window(2))

    async def work():
        dispatching = asyncio.create_task(job.dispatcher().run(units(9)))
        await job.until(lambda: job.completed)
        job.window.resize(0)
        sent = sum(replicas.sent.values())
        await job.until(lambda: job.window.in_flight == 0)
        await asyncio.sleep(0.02)
        assert sum(replicas.sent.values()) == sent
        assert len(job.completed) == sent
        job.window.resize(2)
        await dispatching

    asyncio.run(work())
    assert sorted(job.completed) == list(range(9))


def test_a_lost_unit_is_sent_again_until_it_completes_and_counted():
    replicas = Replicas(lambda number, time: number % 2 == 0 and time < 3)
    job = Job(replicas).run(units(6))
    assert sorted(job.completed) == list(range(6))
    assert replicas.sent == {0: 3, 1: 1, 2: 3, 3: 1, 4: 3, 5: 1}
    assert job.again == 6


def test_a_unit_that_always_fails_is_given_up_with_one_line_and_the_others_complete():
    replicas = Replicas(lambda number, time: number == 2)
    job = Job(replicas).run(units(5))
    (letter,) = job.dead
    assert (letter.unit.number, letter.attempts, letter.error) == (2, 3, "RuntimeError: replica 2 died")
    assert replicas.sent[2] == 3
    assert sorted(job.completed) == [0, 1, 3, 4]


def test_a_replica_that_gives_a_unit_up_has_failed_and_the_job_goes_on():
    async def give_up(unit):
        raise asyncio.CancelledError

    (letter,) = Job(give_up).run(units(1)).dead
    assert (letter.attempts, letter.error) == (3, "CancelledError: the replica gave it up")


def test_an_error_of_a_remote_task_is_told_by_its_cause_and_a_call_that_cannot_even_be_made_counts_too():
    def refuse(unit):
        raise RayTaskError("work", "Traceback", ValueError("inner\nline"))

    (letter,) = Job(refuse).run(units(1)).dead
    assert letter.error == "ValueError: line"


def test_what_goes_wrong_with_the_telling_of_a_units_end_comes_as_itself_and_cancels_the_others():
    replicas = Replicas()
    job = Job(replicas)

    def fail(unit):
        raise OSError("no space left")

    job.completed = type("Full", (), {"append": staticmethod(fail)})
    with pytest.raises(OSError, match="no space left"):
        job.run(units(9))
    assert not replicas.flying


def test_units_are_taken_no_faster_than_they_are_sent():
    taken = []

    def endless():
        for number in itertools.count():
            taken.append(number)
            yield Unit(number, 0, number, number + 1)

    job = Job(Replicas(), Window(3))

    async def work():
        dispatching = asyncio.create_task(job.dispatcher().run(endless()))
        await job.until(lambda: len(job.completed) >= 40)
        dispatching.cancel()
        await asyncio.gather(dispatching, return_exceptions=True)

    asyncio.run(work())
    assert len(taken) <= len(job.completed) + 3 + 1


def test_a_cancelled_dispatcher_cancels_what_flies_and_leaves_no_task_behind():
    replicas = Replicas(seconds=3000)
    job = Job(replicas, Window(3))

    async def work():
        dispatching = asyncio.create_task(job.dispatcher().run(units(9)))
        await job.until(lambda: len(replicas.flying) == 3)
        dispatching.cancel()
        (ended,) = await asyncio.gather(dispatching, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError)
        assert len(asyncio.all_tasks()) == 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(work())
    assert replicas.cancelled == {0, 1, 2}
    assert not replicas.flying


def test_an_interrupt_while_it_waits_comes_through_as_one():
    replicas = Replicas(seconds=3000)

    async def interrupted(unit):
        asyncio.get_running_loop().call_later(0.02, signal.raise_signal, signal.SIGUSR1)
        return await replicas(unit)

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            Job(interrupted, Window(2)).run(units(1))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not replicas.flying


def test_attempts_wait_longer_each_time_and_never_for_ever():
    waits = [back_off(attempt) for attempt in range(2, 20)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.8, 10.0)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_unit_with_a_sample_that_is_not_finite_is_given_up_at_once_by_the_samples_name(wrapped):
    tries = Counter()

    async def replica(unit):
        tries[unit.number] += 1
        if unit.number == 1:
            error = NonFiniteError("sample 6: expected finite latents and pixels, got nan or infinity")
            raise RayTaskError("work", "Traceback", error).as_instanceof_cause() if wrapped else error
        return completed(unit)

    job = Job(replica).run(units(3))
    (letter,) = job.dead
    assert (letter.unit.number, letter.attempts, tries[1]) == (1, 1, 1)
    assert letter.error.startswith("NonFiniteError: sample 6: expected finite")
    assert sorted(job.completed) == [0, 2]
