"""How far jobs are."""

from typing import Annotated

from fastapi import APIRouter, Query

from rayograph.api.bodies import BodyRoute
from rayograph.api.jobs import JobView
from rayograph.api.schemas import Answer, ModelField
from rayograph.api.services import Given

MOST_JOBS = 500

router = APIRouter(prefix="/v1/jobs", route_class=BodyRoute)


class JobList(Answer):
    """`total` counts all jobs."""

    jobs: list[JobView]
    total: int


@router.get("", summary="Those under way first, then the newest")
def list_jobs(
    given: Given,
    start: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_JOBS)] = 100,
) -> JobList:
    found = given.jobs.all()
    return JobList(jobs=found[start : start + limit], total=len(found))


@router.get("/{job_id}", summary="How far it is")
def status(job_id: str, given: Given) -> JobView:
    return given.jobs.one(job_id)


@router.get("/{job_id}/classes", summary="Names of the model's classes, by number")
def classes(job_id: str, given: Given) -> list[str]:
    return list(given.job_service.class_names(given.jobs.begun(job_id).artifact))


@router.get("/{job_id}/takes", summary="What its model takes: the columns that images are found by")
def takes(job_id: str, given: Given) -> list[ModelField]:
    fields = given.job_service.fields(given.jobs.begun(job_id).artifact)
    return [ModelField.model_validate(field, from_attributes=True) for field in fields]
