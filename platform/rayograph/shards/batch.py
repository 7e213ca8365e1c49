"""What a worker is given at each step: its rows of the global batch."""

from dataclasses import dataclass, field

import numpy as np

from rayograph.errors import DataError


def _nothing() -> np.ndarray:
    return np.empty(0, object)


@dataclass(frozen=True)
class Batch:
    """`positions` (rows,) int64 in the plan's stream; `columns` are arrays of as many rows.

    `keys` are the samples' own names; `substituted` says what was wrong with a sample that another one stands in for,
    and is empty for all else. Both are (rows,) of strings, or empty where nobody asked.
    """

    positions: np.ndarray
    columns: dict[str, np.ndarray]
    keys: np.ndarray = field(default_factory=_nothing)
    substituted: np.ndarray = field(default_factory=_nothing)

    def __len__(self) -> int:
        return len(self.positions)

    def split(self, size: int) -> list["Batch"]:
        """Micro-batches of `size` rows, in order."""
        return [self._part(slice(at, at + size)) for at in range(0, len(self), size)]

    def _part(self, rows: slice) -> "Batch":
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Batch(self.positions[rows], columns, self.keys[rows], self.substituted[rows])

    def require_positions(self, expected: np.ndarray) -> None:
        """Raises DataError unless these are the rows that the plan says: the trainer's own check on its input."""
        if not np.array_equal(self.positions, expected):
            came = f"{self.positions[:3]}…{self.positions[-1:]}"
            raise DataError(f"input stream: expected positions {expected[:3]}…{expected[-1:]}, got {came}")
