"""The coordinator: a window of units in flight, lost ones sent again, hopeless ones set aside, nothing drawn twice."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rayograph.models.finite import NonFiniteError
from rayograph.sampling.requests.plan import Unit
from rayograph.sampling.work_unit import Landed

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0


def back_off(attempt: int) -> float:
    """Serve's router learns of a death after a moment."""
    return min(10.0, 0.2 * 2**attempt)


@dataclass(frozen=True)
class SetAside:
    """A unit that failed as often as is allowed, and how it did the last time."""

    unit: Unit
    attempts: int
    error: str


@dataclass(frozen=True)
class Tick:
    """Time went by; `lost` units have been sent again so far, `flying` are under way."""

    lost: int
    flying: int


@dataclass
class Coordinator:
    """Keeps `window()` units in flight, as it says from moment to moment; 0 is a pause.

    `call` sends a unit to a replica. Serve never sends a request again: what a dead replica had, this does, elsewhere
    and a little later each time, up to `max_attempts`; but a sample that is not finite is so everywhere.
    What has landed is never drawn again.
    """

    call: Callable[[Unit], Any]
    window: Callable[[], int]
    max_attempts: int
    pause_seconds: Callable[[int], float] = back_off
    """Before each attempt from the second on."""
    _lost: int = field(default=0, init=False)

    def run(self, units: Iterable[Unit]) -> Iterator[Landed | SetAside | Tick]:
        """Every unit's end, as it comes, and a tick a second in between. Takes from `units` no faster than it sends."""
        loop = asyncio.new_event_loop()
        events = self._events(iter(units))
        step: asyncio.Task[Landed | SetAside | Tick | None] | None = None
        try:
            while True:
                step = loop.create_task(_next(events))
                event = loop.run_until_complete(step)
                if event is None:
                    return
                yield event
        finally:
            if step is not None and not step.done():  # interrupted within
                step.cancel()
                loop.run_until_complete(asyncio.wait([step]))
            loop.run_until_complete(events.aclose())
            loop.close()

    async def _events(self, units: Iterator[Unit]) -> AsyncGenerator[Landed | SetAside | Tick, None]:
        flying: set[asyncio.Task[Landed | SetAside]] = set()
        more = True
        try:
            while more or flying:
                while more and len(flying) < self.window():
                    unit = next(units, None)
                    if unit is None:
                        more = False
                    else:
                        flying.add(asyncio.create_task(self._draw(unit)))
                if flying:
                    landed, flying = await asyncio.wait(
                        flying, timeout=TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in landed:
                        yield task.result()
                elif more:
                    await asyncio.sleep(TICK_SECONDS)
                yield Tick(self._lost, len(flying))
        finally:
            for task in flying:
                task.cancel()
            if flying:
                await asyncio.wait(flying, timeout=TICK_SECONDS)

    async def _draw(self, unit: Unit) -> Landed | SetAside:
        error = ""
        for attempt in range(1, self.max_attempts + 1):
            if attempt > 1:
                self._lost += 1
                await asyncio.sleep(self.pause_seconds(attempt))
            try:
                landed: Landed = await self.call(unit)
                return landed
            except asyncio.CancelledError:
                raise
            except Exception as failure:  # noqa: BLE001 - a lost replica, node or controller has many faces
                error = _line(failure)
                log.warning("%s: attempt %d of %d: %s", unit.shard, attempt, self.max_attempts, error)
                if isinstance(_cause(failure), NonFiniteError):
                    return SetAside(unit, attempt, error)  # the same everywhere
        return SetAside(unit, self.max_attempts, error)


async def _next(events: AsyncGenerator[Landed | SetAside | Tick, None]) -> Landed | SetAside | Tick | None:
    return await anext(events, None)


def _cause(failure: BaseException) -> BaseException:
    """What went wrong where the unit was, which Ray hands on within an error of its own."""
    cause: BaseException = getattr(failure, "cause", None) or failure
    return cause


def _line(failure: BaseException) -> str:
    """The last line of what it says: of a remote traceback, the error itself."""
    cause = _cause(failure)
    said = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {said[-1][:300] if said else ''}"
