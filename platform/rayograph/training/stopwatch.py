"""Where a step's seconds go: on a GPU its own, between events, read once the step has been waited for anyway."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Seconds by part since they were last taken."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Counts what happens inside."""
        if torch.cuda.is_available():
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self._events.append((part, first, last))
            return
        began = time.perf_counter()
        yield
        self._seconds[part] += time.perf_counter() - began

    def take(self) -> dict[str, float]:
        """All of it, and begins anew. Waits for the device."""
        for part, first, last in self._events:
            last.synchronize()
            self._seconds[part] += first.elapsed_time(last) / 1e3
        self._events.clear()
        taken, self._seconds = dict(self._seconds), defaultdict(float)
        return taken
