"""A job's images: found, shown, traced, drawn again."""

import shlex
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response

from rayograph.api.bodies import BodyRoute
from rayograph.api.comparison import Reproduction, compare
from rayograph.api.images import Page
from rayograph.api.schemas import Ancestor, Answer, Record
from rayograph.api.services import Given
from rayograph.conditioning.class_names import class_number
from rayograph.runs.digests import sha256

FOREVER = "private, max-age=31536000, immutable"
MOST_IMAGES = 500
_SAID = ("prompt", "class", "seed", "start", "limit")

router = APIRouter(prefix="/v1/jobs/{job_id}/images", route_class=BodyRoute)


class Lineage(Answer):
    """All that an image came from, and the command that draws it again from the downloaded file."""

    record: Record
    ancestors: list[Ancestor]
    command: str


@router.get("", summary="A page of images by number; filters narrow it: any column of text that the model takes is one")
def images(
    job_id: str,
    given: Given,
    request: Request,
    prompt: Annotated[str | None, Query(max_length=4096)] = None,
    class_: Annotated[str | None, Query(alias="class", max_length=256)] = None,
    seed: Annotated[int | None, Query(ge=0, lt=2**64)] = None,
    start: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_IMAGES)] = 100,
) -> Page:
    artifact, view = given.jobs.begun(job_id).artifact, given.jobs.one(job_id)
    wanted: dict[str, str | int] = {} if not prompt else {"prompt": prompt}
    if class_:
        wanted["class"] = _class_number(class_, given.job_service.class_names(artifact))
    others = {name: text for name, text in request.query_params.items() if name not in _SAID and text}
    if others:
        texts = {field.column for field in given.job_service.fields(artifact) if field.kind in ("text", "boxes")}
        unknown = sorted(others.keys() - texts)
        if unknown:
            raise HTTPException(422, f"{unknown[0][:80]}: expected one of {', '.join((*_SAID, *sorted(texts)))}")
        wanted |= others
    return given.images.page(artifact, view.dead, wanted=wanted, seed=seed, start=start, limit=limit)


@router.get("/{number}", response_class=Response, summary="The file, as it was drawn")
def image(job_id: str, number: int, given: Given, request: Request) -> Response:
    found = given.images.image(given.jobs.begun(job_id).artifact, number)
    name = f'inline; filename="{_file_name(job_id, number, found.extension)}"'
    return _file(request, found.data, found.media_type, found.tag, disposition=name)


@router.get("/{number}/thumbnail", response_class=Response, summary="192 pixels a side at most")
def thumbnail(job_id: str, number: int, given: Given, request: Request) -> Response:
    data, media_type = given.images.thumbnail(given.jobs.begun(job_id).artifact, number)
    return _file(request, data, media_type, tag=f"{job_id}-{number}")


@router.get("/{number}/given/{column}", response_class=Response, summary="A file that it was conditioned on")
def given_file(job_id: str, number: int, column: str, given: Given, request: Request) -> Response:
    data, media_type = given.images.given(given.jobs.begun(job_id).artifact, number, column)
    return _file(request, data, media_type, tag=f"{job_id}-{number}-given-{sha256(column.encode())[:16]}")


@router.get("/{number}/lineage", summary="Record, ancestors, and the command to draw it again")
def lineage(job_id: str, number: int, given: Given) -> Lineage:
    artifact = given.jobs.begun(job_id).artifact
    found = given.images.image(artifact, number)
    file = _file_name(job_id, number, found.extension)
    command = shlex.join(["rayograph", "trace", file, "--store", given.store_uri, "--again"])
    return Lineage(record=found.record, ancestors=list(given.job_service.lineage(artifact)), command=command)


@router.post("/{number}/again", summary="Draws it anew and compares the pixels")
def again(job_id: str, number: int, given: Given) -> Reproduction:
    artifact = given.jobs.begun(job_id).artifact
    kept = given.images.image(artifact, number)
    _, data, record = given.job_service.draw_again(artifact, number)
    return compare(number, kept, data, record)


def _class_number(given: str, names: Sequence[str]) -> int:
    number = class_number(given, names)
    if number is not None and 0 <= number < (len(names) or 2**63):
        return number
    known = f"one of {', '.join(names[:20])}" if names else "a number"
    raise HTTPException(422, f"class: expected {known}, got {given[:80]!r}")


def _file_name(job_id: str, number: int, extension: str) -> str:
    """What browsers keep an image under."""
    return f"{job_id.replace('~', '-')}-{number:09d}.{extension}"


def _file(request: Request, data: bytes, media_type: str, tag: str, disposition: str | None = None) -> Response:
    headers = {"etag": f'"{tag}"', "cache-control": FOREVER}
    if disposition is not None:
        headers["content-disposition"] = disposition
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)
