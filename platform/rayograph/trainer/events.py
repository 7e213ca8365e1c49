"""What training workers say to the driver: an event each, told apart by its type.

They pass through a process that imports nothing heavy, so they hold nothing but numbers, words and rows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rayograph.json_types import JsonObject

if TYPE_CHECKING:
    from rayograph.runs.tracking import Row


@dataclass(frozen=True)
class WorkerPlaced:
    """A worker runs, on this node (Ray's hex id)."""

    node_id: str


@dataclass(frozen=True)
class Resumed:
    """The group trains, from here: where the newest checkpoint is, or 0."""

    images_seen: int


@dataclass(frozen=True)
class StoppedForResize:
    """The group ended as it was asked to, with a checkpoint of here."""

    images_seen: int


@dataclass(frozen=True)
class Advanced:
    """How far the training is, between two rows."""

    images_seen: int


@dataclass(frozen=True)
class MetricsRow:
    """Figures of the steps since the row before, as they stand in metrics.jsonl."""

    row: "Row"


@dataclass(frozen=True)
class Busy:
    """The first worker does something else than steps; what comes next from it ends that."""

    doing: str


@dataclass(frozen=True)
class PreviewDrawn:
    """A picture is in the artifact."""

    path: str
    images_seen: int


@dataclass(frozen=True)
class ModelMeasured:
    """Facts about the finished models, for the manifest."""

    facts: JsonObject


@dataclass(frozen=True)
class Note:
    """A sentence for whoever watches."""

    text: str


@dataclass(frozen=True)
class BadSample:
    """An unreadable sample, and why; another stands in for it. Said once by all workers together."""

    reason: str


WorkerEvent = (
    WorkerPlaced
    | Resumed
    | StoppedForResize
    | Advanced
    | MetricsRow
    | Busy
    | PreviewDrawn
    | ModelMeasured
    | Note
    | BadSample
)
