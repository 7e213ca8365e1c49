"""What can be drawn from, and asking for it."""

from fastapi import APIRouter, Response

from rayograph.api.bodies import BodyRoute
from rayograph.api.jobs import JobView, id_of
from rayograph.api.schemas import Answer, Model, ModelForm
from rayograph.api.services import Given
from rayograph.api.submission import Submission

router = APIRouter(route_class=BodyRoute)


class Accepted(Answer):
    """`created` is false where the very same was submitted before."""

    created: bool
    job: JobView


@router.get("/v1/models", summary="Committed models, newest first")
def models(given: Given) -> list[Model]:
    return list(given.job_service.models())


@router.get("/v1/models/{name:path}", summary="What a model can be asked for, by its name or URI")
def model(name: str, given: Given) -> ModelForm:
    return given.job_service.form(name)


@router.post("/v1/jobs", status_code=201, summary="Submit; the same submission gives the same job")
def submit(submission: Submission, given: Given, response: Response) -> Accepted:
    given.limits.check(submission, given.job_service.file_columns(submission.model))
    artifact, created = given.job_service.submit(submission)
    given.jobs.forget(id_of(artifact.path))
    response.status_code = 201 if created else 200
    return Accepted(created=created, job=given.jobs.one(id_of(artifact.path)))
