"""The coordinator: a window of units in flight, lost ones sent again, nothing drawn twice that is there already."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

from ray.exceptions import RayActorError

from rayograph.errors import DataError
from rayograph.sampling.units import Unit

log = logging.getLogger(__name__)


def draw_all(handle: Any, units: Sequence[Unit], *, window: int, max_attempts: int) -> Iterator[tuple[Unit, bytes]]:
    """Every unit and its index, as they are committed, at most `window` in flight.

    Serve never sends a request again: a unit whose replica died is. Raises DataError naming a unit that failed
    `max_attempts` times.
    """
    loop = asyncio.new_event_loop()
    drawing = _draw_all(handle, units, window, max_attempts)
    try:
        while True:
            try:
                yield loop.run_until_complete(anext(drawing))
            except StopAsyncIteration:
                return
    finally:
        loop.run_until_complete(drawing.aclose())
        loop.close()


async def _draw_all(
    handle: Any, units: Sequence[Unit], window: int, max_attempts: int
) -> AsyncGenerator[tuple[Unit, bytes], None]:
    waiting = iter(units)
    flying: set[asyncio.Task[tuple[Unit, bytes]]] = set()
    try:
        while True:
            for unit in waiting:
                flying.add(asyncio.create_task(_draw(handle, unit, max_attempts)))
                if len(flying) >= window:
                    break
            if not flying:
                return
            landed, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
            for task in landed:
                yield task.result()
    finally:
        for task in flying:
            task.cancel()


async def _draw(handle: Any, unit: Unit, max_attempts: int) -> tuple[Unit, bytes]:
    for attempt in range(1, max_attempts + 1):
        try:
            return unit, await handle.remote(unit)
        except RayActorError as error:
            log.warning(
                "%s: its replica died (attempt %d of %d): %s", unit.shard, attempt, max_attempts, type(error).__name__
            )
            await asyncio.sleep(0.2 * attempt)  # Serve's router needs a moment to learn of the death
    raise DataError(f"{unit.shard}: samples {unit.start} to {unit.stop - 1} failed {max_attempts} times")
