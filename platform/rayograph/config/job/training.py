"""What both trainings declare, and what is taken out of one. Durations count images seen: the only clock."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from rayograph.config.declaration import NOT_IN_KEY, LearningRate
from rayograph.config.stage_base import ArtifactRef, ArtifactType, StageBase

Momentum = Annotated[float, Field(ge=0, lt=1)]

LONGEST_EMA = 0.28
"""Below the relative standard deviation of a plain mean over all steps, 12 ** -0.5."""

PREVIEWS = 10
"""Of a training that does not say how often."""


class Training(StageBase):
    """AdamW over a number of images, with a moving average of the weights."""

    init_from: ArtifactRef | None = None
    """Trained weights to start from, all of them: a stage of this job, or the URI of an artifact of the same type. The
    stage `ExportModel` makes one of a checkpoint's average."""
    total_images: PositiveInt
    global_batch_size: PositiveInt
    """Images an optimiser step sees, over all workers and accumulated micro-batches."""
    lanes: PositiveInt = 8
    """Canonical workers: the largest number of workers ever wanted. Part of the sample order."""
    bad_sample_limit: Annotated[int, NOT_IN_KEY] = Field(0, ge=0)
    """Unreadable samples that others may stand in for, each named, before the training fails."""

    learning_rate: LearningRate = 1e-4
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    learning_rate_minimum: float = Field(0.0, ge=0, le=10.0)
    """What a cosine goes down to, reached at the step after the last."""
    warmup_images: int = Field(0, ge=0)
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    eps: float = Field(1e-8, ge=1e-30, le=1.0)
    """Float32 knows nothing much smaller, and divides by it."""
    weight_decay: float = Field(0.0, ge=0, le=100.0)
    gradient_clipping: float | None = Field(None, ge=1e-9, le=1e12)
    """The largest gradient norm let through; None clips nothing."""
    gradient_norm_limit: float = Field(100.0, gt=1, le=1e12)
    """Times its usual value (the geometric mean of the last 100 steps) that a gradient norm may have. A step beyond,
    or one with a figure that is not finite, is undone: weights go back to the newest checkpoint, data goes on."""
    max_rollbacks: Annotated[int, NOT_IN_KEY] = Field(3, ge=0)
    """Times that a training goes back so before it gives up."""
    ema_decays: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field((0.9999,), min_length=1)
    """Of the weights' moving averages: the model is made of the first, `rayograph export` makes one of any. They warm
    up as min(decay, (1 + n) / (10 + n)) at step n, the first being 1."""
    ema_lengths: tuple[Annotated[float, Field(gt=0, lt=LONGEST_EMA)], ...] = ()
    """Of averages by a power function besides, as shares of the training (Karras et al. 2024, sec. 3). From two, such
    as (0.05, 0.1), and snapshots `rayograph export --length` makes one of any other length."""

    log_every_images: Annotated[PositiveInt, NOT_IN_KEY] = 1024
    preview_every_images: Annotated[int | None, NOT_IN_KEY] = Field(None, ge=0)
    """How often pictures of what the first average does are made; None is ten times, 0 never."""
    preview_images: Annotated[PositiveInt, NOT_IN_KEY] = 16
    checkpoint_every_images: Annotated[PositiveInt, NOT_IN_KEY] = 16384
    keep_checkpoints: Annotated[PositiveInt, NOT_IN_KEY] = 2
    """How many of the newest stay."""
    keep_best_checkpoints: Annotated[int, NOT_IN_KEY] = Field(0, ge=0)
    """How many besides of those before which the loss was lowest."""
    keep_checkpoint_every_images: Annotated[PositiveInt | None, NOT_IN_KEY] = None
    """How far those are apart that stay for good."""
    ema_snapshot_every_images: Annotated[PositiveInt | None, NOT_IN_KEY] = None
    """How far those are apart whose averages by `ema_lengths` stay, when the rest of them goes."""

    @model_validator(mode="after")
    def _lanes_divide_the_batch(self) -> "Training":
        if self.global_batch_size % self.lanes:
            raise ValueError(
                f"lanes: expected a divisor of global_batch_size {self.global_batch_size}, got {self.lanes}"
            )
        return self

    @model_validator(mode="after")
    def _rates_fall(self) -> "Training":
        lowest = self.learning_rate_minimum
        if lowest and self.learning_rate_schedule == "constant":
            raise ValueError(f"learning_rate_minimum: expected none with a constant schedule, got {lowest:g}")
        if lowest > self.learning_rate:
            raise ValueError(
                f"learning_rate_minimum: expected at most learning_rate {self.learning_rate:g}, got {lowest:g}"
            )
        return self

    @model_validator(mode="after")
    def _snapshots_hold_something(self) -> "Training":
        if self.ema_snapshot_every_images and not self.ema_lengths:
            raise ValueError("ema_snapshot_every_images: expected ema_lengths beside it, as (0.05, 0.1), got none")
        return self

    @model_validator(mode="after")
    def _averages_differ(self) -> "Training":
        for name in ("ema_decays", "ema_lengths"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: expected each once, got {values}")
        return self

    @property
    def previews_every(self) -> int | None:
        """Images between two previews; None where there are none."""
        if self.preview_every_images is None:
            return -(-self.total_steps // PREVIEWS) * self.global_batch_size
        return self.preview_every_images or None

    @property
    def total_steps(self) -> int:
        """Optimiser steps, the last one whole."""
        return -(-self.total_images // self.global_batch_size)


class ExportModel(StageBase):
    """Makes a model of a training's checkpoint, under way or done, and any of its averages, as `rayograph export` does.

    Its key is a digest of the checkpoint's files that are read, wherever they lie.
    """

    implemented_by: ClassVar[str | type] = "rayograph.stages.export_model:ExportModelStage"

    kind: Literal["export_model"] = "export_model"
    uri: Annotated[str, NOT_IN_KEY]
    """The training's artifact, as `rayograph ls` shows it below its store."""
    makes: Literal["autoencoder", "diffusion_model"] = "diffusion_model"
    """What is trained there."""
    images_seen: PositiveInt
    """Which checkpoint; with `length` a snapshot serves too."""
    average: str | None = None
    """Such as "ema-0.9999" or "length-0.1", or "weight" for none; None is the first."""
    length: float | None = Field(None, gt=0, lt=LONGEST_EMA)
    """Of an average that is solved for from `ema_lengths` and snapshots, as a share of the training."""
    sha256: Annotated[str | None, NOT_IN_KEY] = Field(None, pattern="^[0-9a-f]{64}$")
    """The digest that the stage's last line says. Said, the checkpoint may be gone once the model is made; another one
    than this is refused."""

    @property
    def output(self) -> ArtifactType:  # type: ignore[override]
        return ArtifactType(self.makes)

    @model_validator(mode="after")
    def _one_average(self) -> "ExportModel":
        if self.length is not None and self.average is not None:
            raise ValueError(f"length: expected none beside average {self.average!r}, got {self.length:g}")
        return self
