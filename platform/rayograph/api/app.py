"""The HTTP app: batch generations submitted, watched, steered and shown. It keeps nothing: the store is the truth."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from fastapi import FastAPI

import rayograph.version
from rayograph.api.artifact_index import ArtifactIndex
from rayograph.api.bodies import BodyRoute
from rayograph.api.guards.rate_limits import Limits
from rayograph.api.guards.refusals import Failure, add_refusals
from rayograph.api.guards.security import Security
from rayograph.api.images import Images, OpenPlan
from rayograph.api.jobs import Jobs
from rayograph.api.routers import ROUTERS
from rayograph.api.services import JobService, Services
from rayograph.api.static_files import add_page
from rayograph.storage import ObjectStore


def build_app(
    store: ObjectStore,
    job_service: JobService,
    open_plan: OpenPlan,
    token_sha256: str | None = None,
    limits: Limits | None = None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Without `token_sha256`, hexadecimal, it answers to loopback names alone, and whoever serves it binds to one."""
    limits = limits or Limits()
    jobs = Jobs(ArtifactIndex(store, clock), now, clock)
    app = FastAPI(
        title="rayograph",
        version=rayograph.version.VERSION,
        description='Batch generation. Every refusal is {"error": "one line"}.',
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        responses={"4XX": {"model": Failure}},
    )
    Services(store.uri, job_service, jobs, Images(open_plan, clock), limits, token_sha256).given_to(app)
    app.router.route_class = BodyRoute
    app.add_middleware(Security, token_sha256=token_sha256, limits=limits, clock=clock)
    add_refusals(app)
    add_page(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
