"""What a training worker is told: small, and quick to import, for it passes through processes that do not train."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rayograph.config import Scale
from rayograph.config.job.training import Training
from rayograph.ingest.reading import PlannedReader
from rayograph.runs.artifact import Artifact


@dataclass(frozen=True)
class WorkerConfig:
    """All that a worker needs to train, sent to it once."""

    recipe: Training
    scale: Scale
    artifact: Artifact
    reader: PlannedReader
    make_learner: Callable[[], Any]
    """Makes the Learner; called on the worker, once its process group is up."""
    cost: Callable[[], Any]
    """What an image of this training takes: a Cost."""
    picture: Callable[[PlannedReader, Mapping[str, Any]], bytes]
    """A PNG of what models, by their folders, do; made by the first worker."""
    measure: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    """Facts about the finished models, by their folders; found by the first worker."""
