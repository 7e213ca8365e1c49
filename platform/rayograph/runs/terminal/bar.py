"""A stage's live line on a terminal: name, bar, share, and of counts, rate, time and figures as much as fits."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text

from rayograph.runs.terminal.console import escaped, quiet_error

if TYPE_CHECKING:
    from rayograph.runs.terminal.progress import Progress

REFRESHES_PER_SECOND = 4
SHORTEST_BAR, LONGEST_BAR = 8, 40
GAP = 2


class Bar:
    """Drawn anew a few times a second; lines of others, such as Ray's, come to stand above it."""

    def __init__(self, progress: "Progress", console: Console | None = None) -> None:
        stream = quiet_error()
        self._console = console or Console(file=stream, force_terminal=True)  # type: ignore[arg-type]
        self._live = Live(
            StageLines(progress),
            console=self._console,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)

    def print(self, line: str) -> None:
        """A line that stays, above the bar; it wraps where it must."""
        self._console.print(Text(escaped(line)), soft_wrap=True)

    def close(self) -> None:
        self._live.stop()


class StageLines:
    """What a Progress looks like at any width: never more than one row, and one for each thing that goes on beside."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType | Segment]:
        width = max(1, options.max_width - 1)  # a terminal may wrap after its last column
        yield from self._row(width, console, options)
        for name, what in list(self._progress.activities.items()):
            yield Segment.line()
            yield Text(_cut(f"  {escaped(name)}: {escaped(what)}", width), style="dim", no_wrap=True, end="")

    def _row(self, width: int, console: Console, options: ConsoleOptions) -> Iterator[RenderableType | Segment]:
        shown = self._progress
        share = min(1.0, shown.done / shown.total) if shown.total else 1.0
        name, percent = escaped(shown.stage), f"{share:4.0%}"
        parts = self._parts(width - cell_len(name) - GAP - SHORTEST_BAR - GAP - len(percent))
        taken = sum(GAP + cell_len(part) for part in parts) + cell_len(name) + GAP + len(percent)
        room = width - taken - GAP
        if room < SHORTEST_BAR:  # a very narrow terminal: the name gives way, then the bar
            yield Text(_cut(name, max(1, width - len(percent) - 1)), style="bold", end="")
            yield Text(_cut(f" {percent}", width), end="")
            return
        yield Text(name + " " * GAP, style="bold", end="")
        yield from console.render(
            ProgressBar(total=1.0, completed=share, width=min(room, LONGEST_BAR)),
            options.update(width=min(room, LONGEST_BAR)),
        )
        tail = Text(" " * GAP + percent, end="")
        for part in parts:
            tail.append(" " * GAP + part)
        yield tail

    def _parts(self, room: int) -> list[str]:
        """What fits beside the bar: time left, count, rate and figures, taken in this order, shown in the usual one."""
        shown = self._progress
        rate = shown.rate()
        count = f"{shown.done:,}/{shown.total:,}"
        candidates = [
            (2, shown.left()),
            (0, count if rate is not None else f"{count} {shown.unit}"),
            (1, "" if rate is None else f"{_short(rate)} {shown.unit}/s"),
            *((3 + place, escaped(shown.figure(name))) for place, name in enumerate(list(shown.figures))),
        ]
        taken: list[tuple[int, str]] = []
        for place, text in candidates:
            if text and GAP + cell_len(text) <= room:
                taken.append((place, text))
                room -= GAP + cell_len(text)
        return [text for _, text in sorted(taken)]


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _cut(text: str, width: int) -> str:
    """`text` in `width` cells at most."""
    return text if cell_len(text) <= width else set_cell_size(text, width)
