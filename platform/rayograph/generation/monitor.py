"""The monitor of a batch generation: every two seconds it looks around, while the dispatcher hands out units.

It reads what people ask for, asks for the job's share of the cluster, watches the replicas, counts what they cost, and
writes down how far the job is. A store or a controller that fails for a while stops none of that: what could not be
done in one round is done in the next.
"""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from rayograph.errors import DataError, RayographError, StoppedError
from rayograph.generation.dispatcher import DeadLetter, Window
from rayograph.generation.tally import Tally
from rayograph.runs.artifact import MANIFEST, Artifact
from rayograph.sampling.job_state import DEAD, JobState, Phase, Wanted, read_state, wanted, write_state

log = logging.getLogger(__name__)

ROUND_SECONDS = 2.0
RATE_SECONDS = 60.0


@dataclass
class Monitor:
    """Use as a context around the event loop that runs `watch`: the state's first and last word are written there.

    `share` gives replicas for a number of units left, `replicas` those that run, `broken` why none ever will. They and
    the store may block: each is called in a thread, and what comes of it is taken in on the loop.
    """

    artifact: Artifact
    tally: Tally
    window: Window
    priority: int
    price_per_hour: float | None
    in_flight_per_replica: int
    share: Callable[[int], int]
    replicas: Callable[[], int]
    broken: Callable[[], str | None]
    shown: Callable[[], None] = lambda: None
    """Called at the end of every round."""
    wanted: Wanted = "running"
    running: int = 0
    """Replicas at the last look."""
    replica_seconds: float = 0.0
    overtaken: bool = False
    """Whether another driver of the same job has committed it."""
    failure: str | None = None

    def __post_init__(self) -> None:
        self._share = 0
        self._started = _now()
        self._last_look = time.monotonic()
        self._seen: deque[tuple[float, int]] = deque()
        self._letters_written = 0

    def __enter__(self) -> "Monitor":
        before = read_state(self.artifact)
        if before is not None:
            self.tally.device_seconds += before.device_seconds
            self.replica_seconds = before.replica_seconds
        self.wanted = wanted(self.artifact)
        self._share = self.share(self._units_wanted())
        self._resize_window()
        write_state(self.artifact, self._state(self._phase()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        phase: Phase = "done" if error is None else "cancelled" if self.wanted == "cancelled" else "failed"
        if isinstance(error, KeyboardInterrupt):
            phase = "interrupted"
        with suppress(RayographError):
            self._write_letters()
        with suppress(RayographError):
            write_state(self.artifact, self._state(phase, None if error is None or phase != "failed" else _line(error)))

    async def watch(self) -> None:
        """Look around until another driver has committed the job.

        Raises StoppedError once the job is cancelled, DataError once no replica can ever start.
        """
        while not self.overtaken:
            await asyncio.sleep(ROUND_SECONDS)
            try:
                await self._round()
            except Exception as error:  # noqa: BLE001 - a store or a controller that is away for a while
                log.warning("%s: %s: %s", self.artifact.path, type(error).__name__, error)
            self.shown()
            if self.wanted == "cancelled":
                raise StoppedError(f"{self.artifact.uri}: cancelled; `rayograph resume` lets it go on")
            if self.failure is not None:
                raise DataError(f"{self.artifact.uri}: its replicas cannot start: {self.failure}")

    async def _round(self) -> None:
        """In this order, so that what fails keeps nothing before it from counting."""
        self.wanted = await asyncio.to_thread(wanted, self.artifact)
        self._resize_window()
        self._share = await asyncio.to_thread(self.share, self._units_wanted())
        self._resize_window()
        self.overtaken = await asyncio.to_thread(self.artifact.store.exists, self.artifact.key(MANIFEST))
        self.failure = None if self.overtaken else await asyncio.to_thread(self.broken)
        self.running = await asyncio.to_thread(self.replicas)
        await asyncio.to_thread(self._write_letters)
        await asyncio.to_thread(write_state, self.artifact, self._state(self._phase()))

    @property
    def money(self) -> float | None:
        """Return what all replicas' time so far costs."""
        return None if self.price_per_hour is None else round(self.replica_seconds / 3600 * self.price_per_hour, 6)

    def _phase(self) -> Phase:
        return "paused" if self.wanted == "paused" else "running"

    def _units_wanted(self) -> int:
        return self.tally.units_left if self.wanted == "running" else 0

    def _resize_window(self) -> None:
        self.window.resize(self.in_flight_per_replica * self._share if self.wanted == "running" else 0)

    def _write_letters(self) -> None:
        for letter in self.tally.dead[self._letters_written :]:
            write_letter(self.artifact, letter)
            self._letters_written += 1

    def _state(self, phase: Phase, error: str | None = None) -> JobState:
        """Return what is so now; counts the time of the replicas since the last look."""
        now, tally = time.monotonic(), self.tally
        self.replica_seconds += self.running * (now - self._last_look)
        self._last_look = now
        self._seen.append((now, tally.samples))
        while now - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        (then, before), left = self._seen[0], tally.total_samples - tally.samples
        rate = (tally.samples - before) / (now - then) if now - then > 1.0 else None
        return JobState(
            phase=phase,
            samples=tally.samples,
            total_samples=tally.total_samples,
            units=tally.units,
            total_units=tally.total_units,
            started=self._started,
            updated=_now(),
            images_per_second=None if rate is None else round(rate, 3),
            seconds_left=round(left / rate, 1) if rate else None,
            replicas=self.running,
            priority=self.priority,
            lost=tally.sent_again,
            dead=[letter.unit.shard for letter in tally.dead],
            device_seconds=round(tally.device_seconds, 3),
            replica_seconds=round(self.replica_seconds, 3),
            money=self.money,
            error=error,
        )


def write_letter(artifact: Artifact, letter: DeadLetter) -> None:
    """Leave a dead letter beside the shards: which samples, how often, and why not."""
    unit = letter.unit
    said = {
        "unit": unit.number,
        "samples": [unit.start, unit.stop],
        "attempts": letter.attempts,
        "error": letter.error,
    }
    name = unit.shard.rpartition("/")[2].removesuffix(".tar")
    artifact.write(f"{DEAD}{name}.json", json.dumps(said, indent=1).encode())


def _line(error: BaseException) -> str:
    """Our own errors are one line; of any other, its kind and the first one."""
    said = (str(error).splitlines() or [""])[0]
    return said if isinstance(error, RayographError) else f"{type(error).__name__}: {said}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
