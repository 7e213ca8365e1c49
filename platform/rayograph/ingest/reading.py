"""What stands at planned positions: ranges read by the index, decoded to arrays in the plan's order. No Ray."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rayograph.ingest.columns import image_columns, moments_columns
from rayograph.runs.artifact import Artifact
from rayograph.shards.index import ShardIndex
from rayograph.shards.plan import Plan
from rayograph.shards.sample import Sample
from rayograph.shards.store import read_index, read_samples

Columns = dict[str, np.ndarray]

DECODERS: dict[str, Callable[[Sequence[Sample]], Columns]] = {"images": image_columns, "moments": moments_columns}


@dataclass(frozen=True)
class PlannedReader:
    """Reads any positions of a plan over the shards `names`; `content` is "images" or "moments"."""

    artifact: Artifact
    names: tuple[str, ...]
    plan: Plan
    content: str

    def read(self, positions: np.ndarray) -> Columns:
        """The decoded columns, a row for each position, and the column `positions` itself. Each sample is read once."""
        shards, rows = self.plan.locate(positions)
        order: list[np.ndarray] = []
        samples: list[Sample] = []
        back: list[np.ndarray] = []
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            wanted, inverse = np.unique(rows[here], return_inverse=True)
            name = self.names[shard]
            order.append(here)
            back.append(inverse + len(samples))
            samples += read_samples(self.artifact, name, _index(self.artifact, name), wanted)
        place = np.empty(len(positions), np.int64)
        place[np.concatenate(order)] = np.concatenate(back)
        columns = DECODERS[self.content](samples)
        return {"positions": positions, **{name: column[place] for name, column in columns.items()}}


@lru_cache(maxsize=256)
def _index(artifact: Artifact, name: str) -> ShardIndex:
    return read_index(artifact, name)
