"""The driver of a batch generation: one event loop, in which units are dispatched and the job is monitored.

Nothing else runs beside it: what may block (the store, the controller of the replicas, the actor of the fair shares) is
called in a thread and awaited.

    replicas ← dispatcher: units as the window allows, failed ones again ─┐
                                                                          ├─ whichever ends first ends the other
    store, cluster ← monitor: wishes, share → window, state ──────────────┘
"""

import asyncio
from collections.abc import Iterable

from rayograph.errors import DataError
from rayograph.generation.dispatcher import Dispatcher
from rayograph.generation.monitor import Monitor
from rayograph.generation.tally import Tally
from rayograph.sampling.job_state import DEAD
from rayograph.sampling.requests.plan import Unit


def drive(units: Iterable[Unit], dispatcher: Dispatcher, monitor: Monitor) -> None:
    """See every unit to its end, or as far as another driver's commit.

    Raises DataError naming units that were given up, or why no replica can start; StoppedError once it is cancelled.
    """
    with monitor:
        asyncio.run(_first_to_end(units, dispatcher, monitor))
        if monitor.tally.dead:
            raise DataError(f"{monitor.artifact.uri}: {_given_up(monitor.tally)}")


async def _first_to_end(units: Iterable[Unit], dispatcher: Dispatcher, monitor: Monitor) -> None:
    sides = {asyncio.create_task(dispatcher.run(units)), asyncio.create_task(monitor.watch())}
    try:
        ended, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for side in sides:
            side.cancel()
        await asyncio.gather(*sides, return_exceptions=True)
    for side in ended:
        side.result()


def _given_up(tally: Tally) -> str:
    attempts = {letter.attempts for letter in tally.dead}
    fewest, most = min(attempts), max(attempts)
    times = f"{most} times" if fewest == most else f"{fewest} to {most} times"
    named = ", ".join(letter.unit.shard for letter in tally.dead[:3])
    return (
        f"{len(tally.dead)} of {tally.total_units} units failed {times} each and are dead letters ({named}): "
        f"{DEAD} says why; the same command tries them again"
    )
