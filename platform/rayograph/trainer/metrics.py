"""What a training writes down beside its checkpoints: rows of figures, and the samples it saw."""

import resource
import time
from dataclasses import dataclass

import torch

from rayograph.runs.tracking import MetricsLog, Row
from rayograph.trainer.control_actor import Control
from rayograph.trainer.events import Advanced, MetricsRow
from rayograph.trainer.sample_log import SampleLog, rewind_samples
from rayograph.trainer.worker_config import WorkerConfig
from rayograph.training.checkpoints.checkpoint import Checkpoints
from rayograph.training.engine.engine import COMPUTED, EXCHANGED, UPDATED
from rayograph.training.learner import Learner, Metrics
from rayograph.training.loop import WAITED
from rayograph.training.training_progress import TrainingProgress

FRACTIONS = {COMPUTED: "compute_fraction", EXCHANGED: "communication_fraction", UPDATED: "update_fraction"}
"""Of the time between two rows, as rows call them."""
SAY_EVERY_SECONDS = 1.0
"""How far a training is, for the progress line; its figures come more seldom."""


@dataclass(frozen=True)
class Records:
    """In the store before a checkpoint counts, and cut where one is loaded: they read the same after any number
    of interruptions.

    The first worker has `metrics`; each has `samples`, where the profile asks for them.
    """

    assignment: WorkerConfig
    metrics: MetricsLog | None
    samples: SampleLog | None

    @staticmethod
    def of(assignment: WorkerConfig, rank: int, workers: int) -> "Records":
        """This worker's."""
        artifact, batch = assignment.artifact, assignment.recipe.global_batch_size
        samples = SampleLog(artifact, batch, rank, workers) if assignment.scale.ingest.log_samples else None
        return Records(assignment, MetricsLog(artifact) if rank == 0 else None, samples)

    def rewind(self, images_seen: int) -> None:
        """Forgets what came after a position that the training went back to."""
        if self.metrics:
            self.metrics.rewind(images_seen)
            rewind_samples(self.assignment.artifact, images_seen)

    def flush(self) -> None:
        """Writes what is not written yet."""
        if self.samples:
            self.samples.flush()
        if self.metrics:
            self.metrics.flush()


@dataclass(frozen=True)
class Pace:
    """What a worker's arithmetic comes to: FLOPs an image, how many share them, and what its device can do a second."""

    flops: int
    workers: int
    peak: float

    def figures(self, images_per_second: float) -> Metrics:
        done = self.flops * images_per_second / self.workers
        return {"flops_per_second": done, "mfu": done / self.peak}


class Report:
    """Every so many images one row, to metrics.jsonl and to the driver: means since the last, and what held it up."""

    def __init__(
        self, log: MetricsLog, control: Control, every_images: int, checkpoints: Checkpoints, pace: "Pace"
    ) -> None:
        self._log, self._control, self._every_images, self._checkpoints = log, control, every_images, checkpoints
        self._pace = pace
        self._since = time.monotonic()
        self._told = -SAY_EVERY_SECONDS
        self._rows: list[Metrics] = []

    def __call__(self, learner: Learner, progress: TrainingProgress, metrics: Metrics) -> None:
        self._rows.append(metrics)
        now = time.monotonic()
        if not progress.due(self._every_images):
            if now - self._told >= SAY_EVERY_SECONDS:
                self._told = now
                self._control.put(Advanced(progress.images_seen))
            return
        means = _means(self._rows)
        waited = means.pop(WAITED) * len(self._rows)
        seconds, rate = now - self._since, len(self._rows) * progress.global_batch_size / (now - self._since)
        row: Row = {"images_seen": progress.images_seen} | means
        row |= {"images_per_second": rate, "data_wait_fraction": waited / seconds}
        row |= {FRACTIONS[part]: spent / seconds for part, spent in _spent(learner).items()}
        row |= self._pace.figures(rate)
        row["memory_bytes"] = _memory_bytes()
        last = self._checkpoints.last
        if last is not None:
            row |= {
                "checkpoint_stalled_seconds": last.stalled,
                "checkpoint_seconds": last.seconds,
                "checkpoint_bytes": last.bytes,
            }
        self._log.append(row)
        self._control.put(MetricsRow(row))
        self._told = now
        self._since, self._rows = now, []


def drop_times(learner: Learner, *_: object) -> None:
    """For workers that report nothing: their stopwatches would fill up."""
    _spent(learner)


def _spent(learner: Learner) -> dict[str, float]:
    """Seconds of all networks by part of a step, since they were last asked."""
    spent = dict.fromkeys((COMPUTED, EXCHANGED, UPDATED), 0.0)
    for engine in learner.engines().values():
        for part, seconds in engine.stopwatch.take().items():
            spent[part] += seconds
    return spent


def _means(rows: list[Metrics]) -> Metrics:
    """Of each figure over the rows that have it, by name."""
    names = sorted({name for row in rows for name in row})
    found = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}


def _memory_bytes() -> int:
    """The most that this worker has held: of its GPU's memory, or of the host's without one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
