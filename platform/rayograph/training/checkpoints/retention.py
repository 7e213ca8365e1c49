"""Which checkpoints stay: the newest, one every so many images, the best; and of which the averages stay."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Retention:
    """Counted in images seen."""

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
            *_first_behind(self.every, positions),
            *(position for _, position in rated[: self.best]),
        }

    def snapshots_of(self, positions: Iterable[int]) -> set[int]:
        """Of checkpoints, and of what is a snapshot already."""
        return _first_behind(self.snapshots, positions)


def _first_behind(every: int | None, positions: Iterable[int]) -> set[int]:
    """The first position at or behind each multiple of `every`; those that stayed tell where the ones gone were."""
    ordered = sorted({0, *positions})
    return {here for before, here in pairwise(ordered) if every is not None and here // every > before // every}
