"""The steward of a batch generation: a thread that looks around every two seconds, while the driver hands out units.

It reads what people ask for, asks for the job's share of the cluster, watches the replicas, counts what they cost, and
writes down how far the job is. A store that fails for a while stops none of that: the next round says it all again.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rayograph.errors import RayographError
from rayograph.runs.artifact import MANIFEST, Artifact
from rayograph.sampling.job_state import JobState, Phase, Wanted, read_state, wanted, write_state

log = logging.getLogger(__name__)

ROUND_SECONDS = 2.0
RATE_SECONDS = 60.0


@dataclass
class Steward:
    """Use as a context. `progress` is counted up by the driver; `window` and `wanted` are for it to read.

    `share` gives replicas for a number of units left, `replicas` those that run, `broken` why none ever will.
    """

    artifact: Artifact
    total_samples: int
    total_units: int
    priority: int
    price_per_hour: float | None
    in_flight_per_replica: int
    share: Callable[[int], int]
    replicas: Callable[[], int]
    broken: Callable[[], str | None]
    samples: int = 0
    units: int = 0
    lost: int = 0
    device_seconds: float = 0.0
    dead: list[str] = field(default_factory=list)
    wanted: Wanted = "running"
    failure: str | None = None
    overtaken: bool = False
    """Whether another driver of the same job has committed it."""
    replica_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._share, self._running = 0, 0
        self._started = _now()
        self._seen: deque[tuple[float, int]] = deque()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._rounds, name="steward", daemon=True)
        self._last_look = time.monotonic()

    def __enter__(self) -> "Steward":
        before = read_state(self.artifact)
        if before is not None:
            self.device_seconds += before.device_seconds
            self.replica_seconds = before.replica_seconds
        self.wanted = wanted(self.artifact)
        self._share = self.share(self.total_units - self.units if self.wanted == "running" else 0)
        self._write("paused" if self.wanted == "paused" else "running")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._over.set()
        self._thread.join(30)
        phase: Phase = "done" if error is None else "cancelled" if self.wanted == "cancelled" else "failed"
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            phase = "interrupted"
        with suppress(RayographError):
            self._write(phase, _line(error) if phase == "failed" and error is not None else None)

    def window(self) -> int:
        """Units that may be in flight now."""
        return self.in_flight_per_replica * self._share if self.wanted == "running" else 0

    @property
    def running(self) -> int:
        """Replicas at the last look."""
        return self._running

    @property
    def money(self) -> float | None:
        """Of all replicas' time so far."""
        return None if self.price_per_hour is None else round(self.replica_seconds / 3600 * self.price_per_hour, 6)

    def _rounds(self) -> None:
        while not self._over.wait(ROUND_SECONDS):
            try:
                self.wanted = wanted(self.artifact)
                self._share = self.share(self.total_units - self.units if self.wanted == "running" else 0)
                self.overtaken = self.artifact.store.exists(self.artifact.key(MANIFEST))
                self.failure = None if self.overtaken else self.broken()
                self._running = self.replicas()
                self._write("paused" if self.wanted == "paused" else "running")
            except Exception as error:  # noqa: BLE001 - a store or a controller that is away for a while
                log.warning("%s: %s: %s", self.artifact.path, type(error).__name__, error)

    def _write(self, phase: Phase, error: str | None = None) -> None:
        now = time.monotonic()
        self.replica_seconds += self._running * (now - self._last_look)
        self._last_look = now
        self._seen.append((now, self.samples))
        while now - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        (then, before), left = self._seen[0], self.total_samples - self.samples
        rate = (self.samples - before) / (now - then) if now - then > 1.0 else None
        state = JobState(
            phase=phase,
            samples=self.samples,
            total_samples=self.total_samples,
            units=self.units,
            total_units=self.total_units,
            started=self._started,
            updated=_now(),
            images_per_second=None if rate is None else round(rate, 3),
            seconds_left=round(left / rate, 1) if rate else None,
            replicas=self._running,
            priority=self.priority,
            lost=self.lost,
            dead=self.dead,
            device_seconds=round(self.device_seconds, 3),
            replica_seconds=round(self.replica_seconds, 3),
            money=self.money,
            error=error,
        )
        write_state(self.artifact, state)


def _line(error: BaseException) -> str:
    """Our own errors are one line; of any other, its kind and the first one."""
    said = (str(error).splitlines() or [""])[0]
    return said if isinstance(error, RayographError) else f"{type(error).__name__}: {said}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
