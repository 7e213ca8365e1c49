"""How far a stage is: a live line with a bar on a terminal; plain lines, seldom, anywhere else. On standard error."""

import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rayograph.runs.terminal.console import say
from rayograph.runs.terminal.rate import Rate

if TYPE_CHECKING:
    from rayograph.runs.terminal.bar import Bar

PLAIN_EVERY_SECONDS = 10.0
STARTING = "starting"


class Progress:
    """How far a stage is: `done` of `total` units, at what rate, how long it will take yet, and its newest figures.

    `at_once` parts are worked on side by side. Where parts are unlike each other, `estimated` is False, and nothing is
    made up. Use as a context, or close it: a terminal's bar goes then, what was said stays.
    """

    def __init__(
        self, stage: str, unit: str, total: int, *, at_once: int = 1, estimated: bool = True, live: bool | None = None
    ) -> None:
        self.stage, self.unit, self.total, self.done = stage, unit, total, 0
        self.figures: dict[str, float] = {}
        self.activities: dict[str, str] = {}
        """What goes on beside the counting, by name: a line each below the bar."""
        self._rate, self._estimated = Rate(at_once), estimated
        self._printed = time.monotonic()
        self._bar: Bar | None = None
        if on_terminal() if live is None else live:
            from rayograph.runs.terminal import bar

            self._bar = bar.Bar(self)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away; may be called twice."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def begin_at(self, done: int) -> None:
        """State what was done before: no work of now, and no rate to be had of it."""
        self.done = done
        self._rate.restart()
        self._show()

    def advance_to(self, done: int, figures: Mapping[str, float] | None = None) -> None:
        """State progress, shown when it is time. Going back (a restart) starts the rate afresh."""
        if done < self.done:
            self._rate.restart()
        elif done > self.done:
            self._rate.arrived(time.monotonic(), done)
        self.done = done
        self.figures = dict(figures) if figures else self.figures
        self._show()

    def doing(self, name: str, what: str | None) -> None:
        """State something that goes on beside; None ends it."""
        if what:
            self.activities[name] = what
        else:
            self.activities.pop(name, None)

    def say(self, message: str) -> None:
        """Print a line that stays."""
        self._print(f"{self.stage:18} {message}")

    def rate(self) -> float | None:
        """Units a second now."""
        return self._rate.per_second(time.monotonic()) if self._estimated else None

    def left(self) -> str:
        """How long it will take yet, as people say it."""
        if self.done >= self.total:
            return ""
        if not self._estimated:
            return "" if self.done else STARTING
        seconds = self._rate.seconds_left(time.monotonic(), self.total)
        return STARTING if seconds is None else f"{duration(seconds)} left"

    def figure(self, name: str) -> str:
        """One of the newest figures."""
        return f"{name} {self.figures[name]:.4g}"

    def _show(self) -> None:
        """The bar looks for itself."""
        now = time.monotonic()
        if self._bar is None and now - self._printed >= PLAIN_EVERY_SECONDS:
            self._printed = now
            self._print(self._line())

    def _line(self) -> str:
        rate = self.rate()
        paces = [f"{rate:,.1f}/s"] if rate is not None else []
        left = [left] if (left := self.left()) else []
        parts = [f"{self.done:,}/{self.total:,} {self.unit}", *paces, *left, *map(self.figure, self.figures)]
        return f"{self.stage:18} {'  '.join(parts)}"

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.print(line)
        else:
            say(line)


def on_terminal() -> bool:
    """Whether somebody looks on, at a terminal that can move its cursor."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def memory(count: float) -> str:
    """'84 MiB' or '12.3 GiB'."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"


def duration(seconds: float) -> str:
    """'42 s', '3 min 20 s' or '5 h 04 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
