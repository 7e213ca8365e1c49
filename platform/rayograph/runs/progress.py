"""One live line a stage on a terminal; plain lines, seldom, anywhere else. All of it on standard error."""

import sys
import time
from collections.abc import Mapping

PLAIN_EVERY_SECONDS = 10.0
LIVE_EVERY_SECONDS = 0.1


class Progress:
    """How far a stage is: `done` of `total` units, at what rate, how long it will take yet, and its newest figures."""

    def __init__(self, stage: str, unit: str, total: int, done: int = 0) -> None:
        self.stage, self.unit, self.total, self.done = stage, unit, total, done
        self._stream = sys.stderr
        self._live = self._stream.isatty()
        self._started, self._started_done = time.monotonic(), done
        self._printed = 0.0 if self._live else self._started
        self._figures: dict[str, float] = {}

    def advance_to(self, done: int, figures: Mapping[str, float] | None = None) -> None:
        """States progress; prints when it is time. Going back (a restart) starts the rate afresh."""
        if done < self.done:
            self._started, self._started_done = time.monotonic(), done
        self.done = done
        self._figures = dict(figures) if figures else self._figures
        now = time.monotonic()
        if now - self._printed >= (LIVE_EVERY_SECONDS if self._live else PLAIN_EVERY_SECONDS):
            self._printed = now
            self._print(self._line())

    def say(self, message: str) -> None:
        """A line that stays."""
        self._print(f"{self.stage:18} {message}", stays=True)

    def _line(self) -> str:
        elapsed = time.monotonic() - self._started
        rate = (self.done - self._started_done) / elapsed if elapsed > 0 else 0.0
        remaining = duration((self.total - self.done) / rate) + " left" if rate > 0 else "starting"
        figures = "".join(f"  {name} {value:.4g}" for name, value in self._figures.items())
        share = f"{self.done:,}/{self.total:,} {self.unit}"
        return f"{self.stage:18} {share}  {rate:,.1f}/s  {remaining}{figures}"

    def _print(self, line: str, stays: bool = False) -> None:
        if self._live:
            self._stream.write(f"\r\x1b[K{line}" + ("\n" if stays else ""))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


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
