"""The generation's driver: dispatcher and monitor on one loop, and whichever ends first ends the other."""

import asyncio
import signal

import pytest

from rayograph.errors import DataError, StoppedError
from rayograph.generation import monitor as module
from rayograph.generation.dispatcher import Dispatcher, Window
from rayograph.generation.job_driver import drive
from rayograph.generation.monitor import Monitor
from rayograph.generation.tally import Tally
from rayograph.runs.artifact import MANIFEST, Artifact
from rayograph.runs.manifest import ShardRecord
from rayograph.sampling.job_state import ask, read_state
from rayograph.sampling.requests.plan import Unit
from rayograph.sampling.work_unit import CompletedUnit
from rayograph.storage import open_store


@pytest.fixture(autouse=True)
def swift(monkeypatch):
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.001)


@pytest.fixture
def artifact(tmp_path):
    return Artifact(open_store(str(tmp_path)), "job/sample/key")


def units(count):
    return [Unit(number, 0, 4 * number, 4 * number + 4) for number in range(count)]


def driven(artifact, call, count=5):
    """Run a whole job whose replicas are `call`; what it came to."""
    tally, window = Tally(4 * count, count), Window()
    monitor = Monitor(artifact, tally, window, 1, None, 2, lambda left: 1, lambda: 1, lambda: None)
    dispatcher = Dispatcher(call, window, 2, tally.complete, tally.give_up, tally.send_again, lambda attempt: 0.0)
    drive(units(count), dispatcher, monitor)
    return tally


async def sound(unit):
    await asyncio.sleep(0)
    return CompletedUnit(unit.number, (), ShardRecord(path=unit.shard, split="samples", samples=len(unit)), 0.5)


async def silent(unit):
    await asyncio.Event().wait()


def test_a_job_ends_once_every_unit_has_and_the_state_says_all_of_it(artifact):
    tally = driven(artifact, sound)
    assert (tally.units, tally.samples, tally.device_seconds) == (5, 20, 2.5)
    state = read_state(artifact)
    assert (state.phase, state.units, state.samples) == ("done", 5, 20)


def test_units_that_were_given_up_fail_the_job_by_name_after_all_others(artifact):
    async def some(unit):
        if unit.number in (1, 3):
            raise ValueError("no")
        return await sound(unit)

    with pytest.raises(DataError, match=r"2 of 5 units failed 2 times each .*-000001.*-000003") as caught:
        driven(artifact, some)
    assert "\n" not in str(caught.value)
    state = read_state(artifact)
    assert (state.phase, state.units, len(state.dead)) == ("failed", 3, 2)


def test_a_cancelled_job_ends_though_replicas_are_silent(artifact):
    async def cancel(unit):
        ask(artifact, "cancelled")
        return await silent(unit)

    with pytest.raises(StoppedError):
        driven(artifact, cancel)
    assert read_state(artifact).phase == "cancelled"


def test_another_drivers_commit_ends_the_job_though_replicas_are_silent(artifact):
    async def commit(unit):
        artifact.write(MANIFEST, b"{}")
        return await silent(unit)

    assert driven(artifact, commit).units == 0


def test_an_interrupt_leaves_the_state_interrupted(artifact):
    async def interrupted(unit):
        if unit.number:
            await silent(unit)
        asyncio.get_running_loop().call_later(0.01, signal.raise_signal, signal.SIGUSR1)
        await silent(unit)

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            driven(artifact, interrupted)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert read_state(artifact).phase == "interrupted"
