"""What a training worker is told: small, and quick to import, for it passes through processes that do not train."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rayograph.config import Scale
from rayograph.config.job.training import Training
from rayograph.ingest.reading import PlannedReader
from rayograph.json_types import Json
from rayograph.runs.artifact import Artifact

if TYPE_CHECKING:
    from rayograph.training.cost import Cost
    from rayograph.training.learner import Learner, Model


@dataclass(frozen=True)
class WorkerConfig:
    """All that a worker needs to train, sent to it once."""

    recipe: Training
    scale: Scale
    artifact: Artifact
    reader: PlannedReader
    make_learner: Callable[[], "Learner"]
    """Called on the worker, once its process group is up."""
    cost: Callable[[], "Cost"]
    """What an image of this training takes."""
    picture: Callable[[PlannedReader, Mapping[str, "Model"]], bytes]
    """A PNG of what models, by their folders, do; made by the first worker."""
    measure: Callable[[Mapping[str, "Model"]], dict[str, Json]] | None = None
    """Facts about the finished models, by their folders; found by the first worker."""
