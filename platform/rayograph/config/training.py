"""What both trainings declare. Durations count images seen: the only clock."""

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from rayograph.config.base import StageBase


class Training(StageBase):
    """AdamW over a number of images, with a moving average of the weights."""

    total_images: PositiveInt
    global_batch_size: PositiveInt
    """Images an optimiser step sees, over all workers and accumulated micro-batches."""
    lanes: PositiveInt = 8
    """Parallel walks through the data: the largest number of workers ever wanted. Part of the sample order."""

    bad_sample_limit: int = Field(0, ge=0)
    """Unreadable samples that others may stand in for, each named, before the training fails."""

    learning_rate: float = Field(1e-4, gt=0)
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    warmup_images: int = Field(0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    gradient_clipping: float | None = Field(None, gt=0)
    """The largest gradient norm let through; None clips nothing."""
    gradient_norm_limit: float = Field(100.0, gt=1)
    """Times its usual value (the geometric mean of the last 100 steps) that a gradient norm may have. A step beyond,
    or one with a figure that is not finite, is undone: weights go back to the newest checkpoint, data goes on."""
    max_rollbacks: int = Field(3, ge=0)
    """Times that a training goes back so before it gives up."""
    ema_decay: float = Field(0.9999, ge=0, lt=1)
    """Warms up as min(decay, (1 + n) / (10 + n)) at step n."""

    log_every_images: PositiveInt = 1024
    checkpoint_every_images: PositiveInt = 16384
    keep_checkpoints: PositiveInt = 2

    @model_validator(mode="after")
    def _lanes_divide_the_batch(self) -> "Training":
        if self.global_batch_size % self.lanes:
            raise ValueError(
                f"lanes: expected a divisor of global_batch_size {self.global_batch_size}, got {self.lanes}"
            )
        return self

    @property
    def total_steps(self) -> int:
        """Optimiser steps, the last one whole."""
        return -(-self.total_images // self.global_batch_size)
