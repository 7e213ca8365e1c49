"""What people ask of a job under way."""

from fastapi import APIRouter, HTTPException

from rayograph.api.bodies import BodyRoute
from rayograph.api.jobs import JobView
from rayograph.api.services import Given, Services
from rayograph.sampling.job_state import Wanted, ask

router = APIRouter(prefix="/v1/jobs/{job_id}", route_class=BodyRoute)


@router.post("/pause", summary="Units in flight end, no more begin")
def pause(job_id: str, given: Given) -> JobView:
    return _control(given, job_id, "paused")


@router.post("/resume", summary="Goes on, also after a cancellation")
def resume(job_id: str, given: Given) -> JobView:
    return _control(given, job_id, "running")


@router.post("/cancel", summary="Ends it; what is drawn stays")
def cancel(job_id: str, given: Given) -> JobView:
    return _control(given, job_id, "cancelled")


def _control(services: Services, job_id: str, what: Wanted) -> JobView:
    artifact = services.jobs.begun(job_id).artifact
    services.jobs.forget(job_id)
    if services.jobs.one(job_id).committed:
        raise HTTPException(409, f"{job_id}: expected a job under way, got one that is done")
    ask(artifact, what)
    if what == "running":
        services.job_service.wake(artifact)
    services.jobs.forget(job_id)
    return services.jobs.one(job_id)
