"""What the HTTP app needs done that it cannot do itself: the stages' part, behind one seam."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict

from rayograph.api.submission import Submission
from rayograph.runs.artifact import Artifact


class Answer(BaseModel):
    """What the app says."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Model(Answer):
    """A committed model that can be drawn from; `name` is its path in the store."""

    name: str
    uri: str
    digest: str
    created: str
    class_names: list[str]
    """By number; empty for a model without classes."""


class Parentage(Answer):
    """An artifact that another was made from, as its manifest says."""

    input: str
    uri: str
    digest: str


class Ancestor(Answer):
    """One artifact on the way back from an image to the data. `digest` and `created` are None until it is committed."""

    uri: str
    job: str
    stage: str
    kind: str
    key: str
    seed: int
    digest: str | None
    created: str | None
    samples: int
    parents: list[Parentage]
    declared: dict[str, Any]
    """The stage as it was declared."""


@runtime_checkable
class Desk(Protocol):
    """Raises RayographError, one line, for what a client can mend."""

    def models(self) -> Sequence[Model]:
        """Newest first."""

    def submit(self, submission: Submission) -> tuple[Artifact, bool]:
        """Checks all of it, then starts it; where it goes, and whether that is new. Nothing is started before."""

    def wake(self, artifact: Artifact) -> None:
        """Makes sure that a submitted artifact has somebody who draws it; nothing where it was not submitted here."""

    def class_names(self, artifact: Artifact) -> Sequence[str]:
        """Of the artifact's model, by number."""

    def lineage(self, artifact: Artifact) -> Sequence[Ancestor]:
        """The artifact and all that it was made from, itself first."""

    def draw_again(self, artifact: Artifact, number: int) -> tuple[np.ndarray, bytes, dict[str, Any]]:
        """One image from its record alone: pixels (h, w, 3) uint8, the file's bytes, the record."""
