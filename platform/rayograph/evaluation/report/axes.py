"""Axes of a chart: where a value goes, and which values are written beside the line.

Values are in the units of the data, places in the pixels of the drawing.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

ROOM = 0.06  # of the axis, beyond the outermost values


@dataclass(frozen=True)
class Axis:
    """Maps [low, high] onto [start, end]; a logarithmic axis takes positive values only."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        low, high, here = (self._scaled(number) for number in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (here - low) / (high - low)

    def ticks(self) -> list[float]:
        """Three to about seven round values within the axis."""
        values = _logarithmic_ticks(self.low, self.high) if self.logarithmic else []
        return values if len(values) >= 3 else _linear_ticks(self.low, self.high)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def spanning(values: list[float], start: float, end: float, logarithmic: bool = False) -> Axis:
    """An axis with all values on it and a little room beyond them, more when they are all one."""
    low, high = min(values), max(values)
    if logarithmic:
        room = max((high / low) ** ROOM, 1.1)
        return Axis(low / room, high * room, start, end, logarithmic)
    spread = high - low
    if spread <= 1e-9 * max(abs(low), abs(high)):
        spread = abs(low) or 1.0
    return Axis(low - ROOM * spread, high + ROOM * spread, start, end)


def short(value: float) -> str:
    """A number as an axis shows it: 250000 as 250k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def _linear_ticks(low: float, high: float) -> list[float]:
    step = 10.0 ** math.floor(math.log10(high - low))
    # the widest round step that leaves four intervals; a run that ends just short of a round number still shows it
    step = max(width for width in (step * part for part in (0.1, 0.2, 0.5, 1.0)) if (high - low) / width >= 3.9)
    first, last = math.ceil(low / step - 0.02), math.floor(high / step + 0.02)
    return [number * step for number in range(first, last + 1)]


def _logarithmic_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; with 2 and 5 between them where there are few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for leading in ((1,), (1, 3), (1, 2, 5)):
        values = list(_within(low, high, decades, leading))
        if len(values) >= 4:
            return values[:: math.ceil(len(values) / 7)]
    return values


def _within(low: float, high: float, decades: range, leading: tuple[int, ...]) -> Iterator[float]:
    for decade in decades:
        for digit in leading:
            value = digit * 10.0**decade
            if low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
                yield value
