"""Which images of a set are compared one by one, known from the numbers of images in its shards alone.

Means and covariances are of all images. What compares images with images (precision and recall, nearest images, the
classifier) is of a subset, drawn by the seed; where the set has no more images than that, it is the set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

Rows = Int64[np.ndarray, "_"]


@dataclass(frozen=True)
class Selection:
    """Rows of one shard, ascending. `stand_ins` stand in for samples: real images, as many as there are samples."""

    compared: Rows
    stand_ins: Rows
    compared_stand_ins: Rows
    shown: int
    """Rows before this one may come onto a sheet."""


def select(sizes: Sequence[int], seed: int, *, compared: int, stand_ins: int = 0, shown: int = 0) -> list[Selection]:
    """Return the selection of each shard. `shown` images may come onto sheets: the first of the set."""
    total = sum(sizes)
    standing_in = seeded_subset(total, stand_ins, seed)
    also_compared = standing_in[seeded_subset(len(standing_in), compared, seed)]
    starts = np.cumsum([0, *sizes])[:-1]
    return [
        Selection(compared_rows, stand_in_rows, both, int(np.clip(shown - start, 0, size)))
        for compared_rows, stand_in_rows, both, start, size in zip(
            _by_shard(sizes, seeded_subset(total, compared, seed)),
            _by_shard(sizes, standing_in),
            _by_shard(sizes, also_compared),
            starts,
            sizes,
            strict=True,
        )
    ]


def seeded_subset(count: int, wanted: int, seed: int) -> Rows:
    """`wanted` of the indices 0 … count − 1 in ascending order, drawn without replacement; all of them if too few."""
    chosen = np.random.default_rng(seed).choice(count, size=min(wanted, count), replace=False)
    return np.sort(chosen)


def _by_shard(sizes: Sequence[int], positions: Rows) -> list[Rows]:
    """Positions in the set to rows of each shard: of sizes 3 and 2, positions 1, 3 are rows [1], [0]."""
    ends = np.cumsum(sizes)
    cuts = np.searchsorted(positions, ends)
    parts = np.split(positions, cuts[:-1]) if len(ends) else []
    return [part - (end - size) for part, end, size in zip(parts, ends, sizes, strict=True)]
