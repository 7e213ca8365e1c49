"""What the endpoints work with, and the seam behind which the pipeline's part stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import numpy as np
from fastapi import Depends, FastAPI, Request

from rayograph.api.guards.rate_limits import Limits
from rayograph.api.images import Images
from rayograph.api.jobs import Jobs
from rayograph.api.schemas import Ancestor, Model, ModelForm, Record
from rayograph.api.submission import Submission
from rayograph.conditioning.form import FormField
from rayograph.runs.artifact import Artifact


@runtime_checkable
class JobService(Protocol):
    """What the HTTP app cannot do itself. Raises RayographError, one line, for what a client can mend."""

    def models(self) -> Sequence[Model]:
        """List committed models, newest first."""

    def submit(self, submission: Submission) -> tuple[Artifact, bool]:
        """Check all of it, then start it; where it goes, and whether that is new. Nothing is started before."""

    def wake(self, artifact: Artifact) -> None:
        """Make sure that a submitted artifact has somebody who draws it; nothing where it was not submitted here."""

    def class_names(self, artifact: Artifact) -> Sequence[str]:
        """List the names of its model's classes, by number."""

    def form(self, model: str) -> ModelForm:
        """Say what a model can be asked for, by its name or URI."""

    def fields(self, artifact: Artifact) -> Sequence[FormField]:
        """List what its model takes."""

    def file_columns(self, model: str) -> frozenset[str]:
        """Name the columns of a model's rows that hold files."""

    def lineage(self, artifact: Artifact) -> Sequence[Ancestor]:
        """List the artifact and all that it was made from, itself first."""

    def draw_again(self, artifact: Artifact, number: int) -> tuple[np.ndarray, bytes, Record]:
        """Draw one image from its record alone: pixels (h, w, 3) uint8, the file's bytes, the record."""


@dataclass(frozen=True)
class Services:
    """One an app. `token_sha256`, hexadecimal, is None where no token is asked for."""

    store_uri: str
    job_service: JobService
    jobs: Jobs
    images: Images
    limits: Limits
    token_sha256: str | None

    def given_to(self, app: FastAPI) -> None:
        """Let the app's endpoints find them."""
        app.state.services = self


async def _services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


Given = Annotated[Services, Depends(_services)]
"""An endpoint's parameter of this type is what its app was built with."""
