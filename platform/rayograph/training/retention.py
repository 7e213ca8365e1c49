"""Which checkpoints stay: the newest, one every so many images, the best; and of which the averages stay."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Retention:
    """Counted in images seen. `interval` is how far checkpoints are apart."""

    interval: int
    last: int
    every: int | None = None
    best: int = 0
    """How many of those with the lowest figure."""
    snapshots: int | None = None
    """How far those are apart whose averages stay."""

    def kept(self, figures: Mapping[int, float | None]) -> set[int]:
        """Of checkpoints by position with their figures, None where it is not known."""
        positions = sorted(figures)
        rated = sorted((figure, position) for position, figure in figures.items() if figure is not None)
        return {
            *positions[-self.last :],
            *(position for position in positions if self._due(position, self.every)),
            *(position for _, position in rated[: self.best]),
        }

    def is_snapshot(self, position: int) -> bool:
        return self._due(position, self.snapshots)

    def _due(self, position: int, every: int | None) -> bool:
        """Whether it is the first checkpoint at or behind a multiple of `every`; position 0 has learned nothing."""
        return every is not None and position > 0 and position % every < self.interval
