"""The loop: what happens when. The learner knows how."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rayograph.shards.batch import Batch
from rayograph.training.clock import Clock
from rayograph.training.learner import Learner, Metrics


@dataclass(frozen=True)
class Hook:
    """Something else that happens, every so many images and at the end."""

    every_images: int
    run: Callable[[Learner, Clock, Metrics], None]


def fit(
    learner: Learner,
    batches: Iterable[Batch],
    clock: Clock,
    expected_positions: Callable[[int], np.ndarray],
    hooks: Sequence[Hook],
) -> None:
    """Steps until the clock is done. `expected_positions(step)` is what the plan gives this worker."""
    stream = iter(batches)
    while not clock.done:
        batch = next(stream)
        batch.require_positions(expected_positions(clock.step))
        metrics = learner.step(batch, clock.images_seen)
        clock.advance()
        for hook in hooks:
            if clock.due(hook.every_images):
                hook.run(learner, clock, metrics)
