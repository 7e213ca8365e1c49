"""What a worker is given at each step: its rows of the global batch."""

from dataclasses import dataclass

import numpy as np

from rayograph.errors import DataError


@dataclass(frozen=True)
class Batch:
    """`positions` (rows,) int64 in the plan's stream; `columns` are arrays of as many rows."""

    positions: np.ndarray
    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.positions)

    def split(self, size: int) -> list["Batch"]:
        """Micro-batches of `size` rows, in order."""
        return [
            Batch(
                self.positions[at : at + size], {name: column[at : at + size] for name, column in self.columns.items()}
            )
            for at in range(0, len(self), size)
        ]

    def require_positions(self, expected: np.ndarray) -> None:
        """Raises DataError unless these are the rows that the plan says: the trainer's own check on its input."""
        if not np.array_equal(self.positions, expected):
            came = f"{self.positions[:3]}…{self.positions[-1:]}"
            raise DataError(f"input stream: expected positions {expected[:3]}…{expected[-1:]}, got {came}")
