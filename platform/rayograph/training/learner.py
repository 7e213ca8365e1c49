"""The seam between the loop and what is learned: a learner owns its networks, engines and losses."""

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from rayograph.conditioning.trained import TrainedConditioner
from rayograph.models.autoencoder import AutoencoderNetwork
from rayograph.models.denoiser import DenoiserNetwork
from rayograph.models.schedule import TrainingSchedule
from rayograph.shards.batch import Batch
from rayograph.training.engine.engine import Engine
from rayograph.training.workers import mean_over_workers

Metrics = dict[str, float]

Model: TypeAlias = AutoencoderNetwork | DenoiserNetwork | TrainedConditioner | TrainingSchedule
"""A part of what a training makes, a folder each."""


@runtime_checkable
class Learner(Protocol):
    """One kind of training. `notes` are sentences for whoever watches it, `monitor_metric` what it is rated by."""

    notes: list[str]
    monitor_metric: str
    names_before: Mapping[str, str]
    """Weights of its engines by names that older checkpoints have for them."""

    def step(self, batch: Batch, images_seen: int) -> Metrics:
        """One optimiser step on this worker's rows; figures are means over all workers."""
        ...

    def engines(self) -> dict[str, Engine[nn.Module]]:
        """By name, for checkpoints. The same names in the same order on every worker."""
        ...

    def exports(self) -> Iterator[tuple[str, Model]]:
        """(folder, model) pairs for the artifact, of the first average, on the first worker.

        All workers must iterate together.
        """
        ...


def mean_metrics(parts: list[dict[str, Tensor]]) -> Metrics:
    """Means over a step's micro-batches and over all workers, of scalars under the same names."""
    names = sorted(parts[0])
    table = torch.stack([torch.stack([part[name].float() for name in names]) for part in parts]).mean(dim=0)
    return dict(zip(names, mean_over_workers(table).tolist(), strict=True))
