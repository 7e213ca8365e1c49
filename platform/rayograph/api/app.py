"""The HTTP app: batch generations submitted, watched, steered and shown. It keeps nothing: the store is the truth."""

import shlex
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

import rayograph
from rayograph.api.bodies import BodyRoute
from rayograph.api.catalogue import Catalogue
from rayograph.api.comparison import Again, compare
from rayograph.api.images import OpenPlan, Page, Picture, Pictures
from rayograph.api.jobs import Jobs, JobView, id_of
from rayograph.api.rate_limits import Limits
from rayograph.api.schemas import Ancestor, Answer, Desk, Model
from rayograph.api.security import COOKIE, SESSION, Gate, is_token
from rayograph.api.static_files import add_page
from rayograph.api.submission import Submission, Token
from rayograph.config.explain import told
from rayograph.errors import MissingObjectError, RayographError, ResourceError, StorageError
from rayograph.runs.artifact import Artifact
from rayograph.sampling.classes import class_number
from rayograph.sampling.job_state import Wanted, ask
from rayograph.storage import ObjectStore

FOREVER = "private, max-age=31536000, immutable"
MOST_IMAGES, MOST_JOBS = 500, 500


class Accepted(Answer):
    """`created` is false where the very same was submitted before."""

    created: bool
    job: JobView


class JobList(Answer):
    """`total` counts all jobs."""

    jobs: list[JobView]
    total: int


class Lineage(Answer):
    """All that an image came from, and the command that draws it again from the downloaded file."""

    record: dict[str, Any]
    ancestors: list[Ancestor]
    command: str


class Session(Answer):
    """What a page must know before it asks for anything."""

    token_required: bool


class Failure(Answer):
    """Of every refusal: one line."""

    error: str


def build_app(
    store: ObjectStore,
    desk: Desk,
    open_plan: OpenPlan,
    token_sha256: str | None = None,
    limits: Limits | None = None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Without `token_sha256`, hexadecimal, it answers to loopback names alone, and whoever serves it binds to one."""
    limits = limits or Limits()
    jobs = Jobs(Catalogue(store, clock), now, clock)
    pictures = Pictures(open_plan, clock)
    app = FastAPI(
        title="rayograph",
        version=rayograph.__version__,
        description='Batch generation. Every refusal is {"error": "one line"}.',
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        responses={"4XX": {"model": Failure}},
    )
    app.router.route_class = BodyRoute
    app.add_middleware(Gate, token_sha256=token_sha256, limits=limits, clock=clock)
    _add_refusals(app)
    add_page(app)

    @app.get(SESSION, summary="Whether this app asks for a token")
    def session() -> Session:
        return Session(token_required=token_sha256 is not None)

    @app.post(SESSION, status_code=204, summary="Show the token once; a cookie keeps it for the browser's session")
    def sign_in(body: Token, request: Request, response: Response) -> None:
        if token_sha256 is not None and not is_token(body.token, token_sha256):
            raise HTTPException(401, "token: expected this app's, got another one")
        if token_sha256 is not None:
            secure = request.url.scheme == "https"
            response.set_cookie(COOKIE, body.token, httponly=True, samesite="strict", secure=secure)

    @app.delete(SESSION, status_code=204, summary="Forget the cookie")
    def sign_out(response: Response) -> None:
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")

    @app.get("/v1/models", summary="Committed models, newest first")
    def models() -> list[Model]:
        return list(desk.models())

    @app.post("/v1/jobs", status_code=201, summary="Submit; the same submission gives the same job")
    def submit(submission: Submission, response: Response) -> Accepted:
        limits.check(submission)
        artifact, created = desk.submit(submission)
        jobs.forget(id_of(artifact.path))
        response.status_code = 201 if created else 200
        return Accepted(created=created, job=jobs.one(id_of(artifact.path)))

    @app.get("/v1/jobs", summary="Those under way first, then the newest")
    def list_jobs(
        start: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=MOST_JOBS)] = 100
    ) -> JobList:
        found = jobs.all()
        return JobList(jobs=found[start : start + limit], total=len(found))

    @app.get("/v1/jobs/{job_id}", summary="How far it is")
    def status(job_id: str) -> JobView:
        return jobs.one(job_id)

    def steer(job_id: str, what: Wanted) -> JobView:
        artifact = jobs.begun(job_id).artifact
        jobs.forget(job_id)
        if jobs.one(job_id).committed:
            raise HTTPException(409, f"{job_id}: expected a job under way, got one that is done")
        ask(artifact, what)
        if what == "running":
            desk.wake(artifact)
        jobs.forget(job_id)
        return jobs.one(job_id)

    @app.post("/v1/jobs/{job_id}/pause", summary="Units in flight end, no more begin")
    def pause(job_id: str) -> JobView:
        return steer(job_id, "paused")

    @app.post("/v1/jobs/{job_id}/resume", summary="Goes on, also after a cancellation")
    def resume(job_id: str) -> JobView:
        return steer(job_id, "running")

    @app.post("/v1/jobs/{job_id}/cancel", summary="Ends it; what is drawn stays")
    def cancel(job_id: str) -> JobView:
        return steer(job_id, "cancelled")

    @app.get("/v1/jobs/{job_id}/classes", summary="Names of the model's classes, by number")
    def classes(job_id: str) -> list[str]:
        return list(desk.class_names(jobs.begun(job_id).artifact))

    @app.get("/v1/jobs/{job_id}/images", summary="A page of images by number; filters narrow it")
    def images(
        job_id: str,
        prompt: Annotated[str | None, Query(max_length=4096)] = None,
        class_: Annotated[str | None, Query(alias="class", max_length=256)] = None,
        seed: Annotated[int | None, Query(ge=0, lt=2**64)] = None,
        start: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_IMAGES)] = 100,
    ) -> Page:
        artifact, view = jobs.begun(job_id).artifact, jobs.one(job_id)
        number = None if not class_ else _class_number(class_, desk.class_names(artifact))
        return pictures.page(
            artifact, view.dead, prompt=prompt or None, class_number=number, seed=seed, start=start, limit=limit
        )

    def drawn(job_id: str, number: int) -> tuple[Artifact, Picture]:
        artifact = jobs.begun(job_id).artifact
        picture = pictures.picture(artifact, number)
        if picture is None:
            raise HTTPException(409, f"image {number}: not drawn yet")
        return artifact, picture

    @app.get("/v1/jobs/{job_id}/images/{number}", response_class=Response, summary="The file, as it was drawn")
    def image(job_id: str, number: int, request: Request) -> Response:
        _, picture = drawn(job_id, number)
        name = f'inline; filename="{_file_name(job_id, number, picture.extension)}"'
        return _file(request, picture.data, picture.media_type, picture.tag, **{"content-disposition": name})

    @app.get(
        "/v1/jobs/{job_id}/images/{number}/thumbnail", response_class=Response, summary="192 pixels a side at most"
    )
    def thumbnail(job_id: str, number: int, request: Request) -> Response:
        found = pictures.thumbnail(jobs.begun(job_id).artifact, number)
        if found is None:
            raise HTTPException(409, f"image {number}: not drawn yet")
        return _file(request, *found, tag=f"{job_id}-{number}")

    @app.get("/v1/jobs/{job_id}/images/{number}/lineage", summary="Record, ancestors, and the command to draw it again")
    def lineage(job_id: str, number: int) -> Lineage:
        artifact, picture = drawn(job_id, number)
        file = _file_name(job_id, number, picture.extension)
        command = shlex.join(["rayograph", "whence", file, "--store", store.uri, "--again"])
        return Lineage(record=picture.record, ancestors=list(desk.lineage(artifact)), command=command)

    @app.post("/v1/jobs/{job_id}/images/{number}/again", summary="Draws it anew and compares the pixels")
    def again(job_id: str, number: int) -> Again:
        artifact, picture = drawn(job_id, number)
        _, data, record = desk.draw_again(artifact, number)
        return compare(number, picture, data, record)

    return app


def _class_number(given: str, names: Any) -> int:
    number = class_number(given, names)
    if number is not None and 0 <= number < (len(names) or 2**63):
        return number
    known = f"one of {', '.join(names[:20])}" if names else "a number"
    raise HTTPException(422, f"class: expected {known}, got {given[:80]!r}")


def _file_name(job_id: str, number: int, extension: str) -> str:
    """What browsers keep an image under."""
    return f"{job_id.replace('~', '-')}-{number:09d}.{extension}"


def _file(request: Request, data: bytes, media_type: str, tag: str, **headers: str) -> Response:
    headers = {"etag": f'"{tag}"', "cache-control": FOREVER, **headers}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


def _add_refusals(app: FastAPI) -> None:
    def line(status: int, text: str) -> JSONResponse:
        return JSONResponse({"error": " ".join(text.split())}, status)

    async def ours(_: Request, error: Exception) -> JSONResponse:
        match error:
            case MissingObjectError():
                return line(404, str(error))
            case ResourceError():
                return line(409, str(error))
            case StorageError():
                return line(503, str(error))
        return line(422, str(error))

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        findings = [{**found, "loc": found["loc"][1:]} for found in getattr(error, "errors", list)()]
        if any(found["type"] == "json_invalid" for found in findings):
            return line(400, f"body: not JSON: {findings[0]['ctx']['error']}")
        return line(422, told(findings, Submission, "") or "body: expected a JSON object")

    async def refused(_: Request, error: Exception) -> JSONResponse:
        return line(getattr(error, "status_code", 400), str(getattr(error, "detail", error)))

    async def defect(_: Request, error: Exception) -> JSONResponse:
        return line(500, f"a defect of ours, of which the app's log has more: {type(error).__name__}")

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        RayographError: ours,
        RequestValidationError: invalid,
        StarletteHTTPException: refused,
        Exception: defect,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
