"""The dispatcher: a window of units in flight, failed ones sent again, hopeless ones named, nothing drawn twice."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from rayograph.models.finite import NonFiniteError
from rayograph.ray_compat import raised_in_task
from rayograph.sampling.requests.plan import Unit
from rayograph.sampling.work_unit import CompletedUnit

log = logging.getLogger(__name__)


def back_off(attempt: int) -> float:
    """Return the seconds before an attempt, from the second on: Serve's router learns of a death after a moment."""
    return min(10.0, 0.2 * 2**attempt)


@dataclass(frozen=True)
class DeadLetter:
    """A unit that failed as often as is allowed, and how it did the last time."""

    unit: Unit
    attempts: int
    error: str


class Window:
    """How many units may be in flight: a semaphore whose size changes from moment to moment. 0 is a pause."""

    def __init__(self, size: int = 0) -> None:
        self.size, self.in_flight = size, 0
        self._changed = asyncio.Event()

    def resize(self, size: int) -> None:
        """Let more units in at once, or no further ones until enough of those in flight have ended."""
        self.size = size
        self._changed.set()

    async def enter(self) -> None:
        """Wait until one more unit may be in flight, and count it in."""
        while self.in_flight >= self.size:
            self._changed.clear()
            await self._changed.wait()
        self.in_flight += 1

    def leave(self) -> None:
        """Count a unit out."""
        self.in_flight -= 1
        self._changed.set()


@dataclass
class Dispatcher:
    """Sends units to replicas by `call`, as the window allows, and tells of each unit's end.

    Serve never sends a request again: what a dead replica had, this does, elsewhere and a little later each time, up to
    `max_attempts`; but a sample that is not finite is so everywhere.
    """

    call: Callable[[Unit], Awaitable[CompletedUnit]]
    window: Window
    max_attempts: int
    completed: Callable[[CompletedUnit], None]
    dead: Callable[[DeadLetter], None]
    sent_again: Callable[[], None]
    pause_seconds: Callable[[int], float] = back_off
    """Before each attempt from the second on."""

    async def run(self, units: Iterable[Unit]) -> None:
        """See every unit to its end. Takes from `units` no faster than it sends; cancelled, it cancels what flies."""
        try:
            async with asyncio.TaskGroup() as in_flight:
                for unit in units:
                    await self.window.enter()
                    in_flight.create_task(self._see_through(unit))
        except BaseExceptionGroup as group:  # of what was told of a unit's end, as a full disk: it comes as itself
            raise group.exceptions[0] from None

    async def _see_through(self, unit: Unit) -> None:
        try:
            match await self._draw(unit):
                case CompletedUnit() as done:
                    self.completed(done)
                case DeadLetter() as letter:
                    self.dead(letter)
        finally:
            self.window.leave()

    async def _draw(self, unit: Unit) -> CompletedUnit | DeadLetter:
        error = ""
        for attempt in range(1, self.max_attempts + 1):
            if attempt > 1:
                self.sent_again()
                await asyncio.sleep(self.pause_seconds(attempt))
            try:
                return await self.call(unit)
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                error = "CancelledError: the replica gave it up"
            except Exception as failure:  # noqa: BLE001 - a lost replica, node or controller has many faces
                cause = raised_in_task(failure)
                error = _line(cause)
                if isinstance(cause, NonFiniteError):
                    return DeadLetter(unit, attempt, error)  # the same everywhere
            log.warning("%s: attempt %d of %d: %s", unit.shard, attempt, self.max_attempts, error)
        return DeadLetter(unit, self.max_attempts, error)


def _is_cancelled() -> bool:
    """Whether this very task is to end, and not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _line(cause: BaseException) -> str:
    """The last line of what it says: of a remote traceback, the error itself."""
    said = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {said[-1][:300] if said else ''}"
