"""Images seen: how far a training is, and nothing else says so."""

import math
from dataclasses import dataclass


@dataclass
class TrainingProgress:
    """Counts images seen over all workers; a step is one global batch."""

    global_batch_size: int
    total_steps: int
    images_seen: int = 0

    @property
    def step(self) -> int:
        """Optimiser steps taken."""
        return self.images_seen // self.global_batch_size

    @property
    def done(self) -> bool:
        return self.step >= self.total_steps

    def advance(self) -> None:
        """One step has been taken."""
        self.images_seen += self.global_batch_size

    def due(self, every_images: int) -> bool:
        """Whether the last step reached or passed a multiple of `every_images`, or was the last of all."""
        return (
            self.done or self.images_seen // every_images > (self.images_seen - self.global_batch_size) // every_images
        )


def learning_rate_at(
    images_seen: int, *, peak: float, schedule: str, warmup_images: int, total_images: int, minimum: float = 0.0
) -> float:
    """Linear from 0 over the warm-up, then constant, or half a cosine to `minimum` at `total_images`."""
    if images_seen < warmup_images:
        return peak * images_seen / warmup_images
    if schedule == "constant":
        return peak
    share = (images_seen - warmup_images) / max(1, total_images - warmup_images)
    return minimum + (peak - minimum) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))
