"""The loop: what happens when. The learner knows how."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rayograph.shards.batch import Batch
from rayograph.training.divergence import DivergenceDetector
from rayograph.training.learner import Learner, Metrics
from rayograph.training.training_progress import TrainingProgress

WAITED = "seconds_waiting_for_data"
"""Of each step, beside the learner's own figures."""


@dataclass(frozen=True)
class Hook:
    """Something else that happens, every so many images and at the end."""

    every_images: int
    run: Callable[[Learner, TrainingProgress, Metrics], None]


def fit(
    learner: Learner,
    batches: Iterable[Batch],
    progress: TrainingProgress,
    expected_positions: Callable[[int], np.ndarray],
    hooks: Sequence[Hook],
    detector: DivergenceDetector,
    recover: Callable[[str], None],
) -> None:
    """Steps until `progress` is done. `expected_positions(step)` is what the plan gives this worker.

    A step that the detector refuses is undone by `recover`, which is told why; the stream goes on behind it.
    """
    stream = iter(batches)
    while not progress.done:
        began = time.monotonic()
        batch = next(stream)
        batch.require_positions(expected_positions(progress.step))
        waited = time.monotonic() - began
        metrics = learner.step(batch, progress.images_seen)
        progress.advance()
        fault = detector.fault(metrics)
        if fault is not None:
            recover(fault)
            continue
        metrics |= {WAITED: waited}
        for hook in hooks:
            if progress.due(hook.every_images):
                hook.run(learner, progress, metrics)
