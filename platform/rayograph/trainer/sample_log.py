"""Which samples a training saw, written down by every worker: samples/ in the artifact, for who wants to be sure.

One object a worker and checkpoint interval, named by what it covers. It is there before the checkpoint counts, and
what lies beyond the checkpoint that a training goes back to is removed: so the log reads as if nothing had happened.
"""

import json
from typing import TypedDict

from rayograph.runs.artifact import Artifact
from rayograph.shards.batch import Batch

FOLDER = "samples/"


class _Step(TypedDict):
    """One worker's part of a step."""

    images_seen: int
    positions: list[int]
    keys: list[str]


class SampleLog:
    """One worker's part of the log."""

    def __init__(self, artifact: Artifact, global_batch_size: int, worker: int, workers: int) -> None:
        self._artifact, self._global_batch_size = artifact, global_batch_size
        self._name = f"{worker:05d}-of-{workers:05d}.jsonl"
        self._rows: list[_Step] = []

    def append(self, batch: Batch) -> None:
        """Notes this worker's part of a step."""
        before = int(batch.positions[0]) // self._global_batch_size * self._global_batch_size
        self._rows.append({"images_seen": before, "positions": batch.positions.tolist(), "keys": list(batch.keys)})

    def flush(self) -> None:
        if self._rows:
            first, last = self._rows[0]["images_seen"], self._rows[-1]["images_seen"]
            lines = "".join(json.dumps(row) + "\n" for row in self._rows)
            self._artifact.write(f"{FOLDER}{first:015d}-{last:015d}-{self._name}", lines.encode())
            self._rows = []


def rewind_samples(artifact: Artifact, images_seen: int) -> None:
    """Removes what was written of steps from `images_seen` on."""
    for name in artifact.names(FOLDER):
        if int(name.removeprefix(FOLDER).partition("-")[0]) >= images_seen:
            artifact.store.delete(artifact.key(name))


def read_samples_seen(artifact: Artifact) -> list[tuple[int, str]]:
    """Position and key of every sample that any worker saw, in the order of the positions."""
    rows = [json.loads(line) for name in artifact.names(FOLDER) for line in artifact.read(name).splitlines()]
    return sorted(pair for row in rows for pair in zip(row["positions"], row["keys"], strict=True))
