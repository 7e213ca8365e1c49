"""Every refusal of the HTTP app is {"error": "one line"}, whoever refuses."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from rayograph.api.schemas import Answer
from rayograph.api.submission import Submission
from rayograph.config.reading.explain import told
from rayograph.errors import MissingObjectError, RayographError, ResourceError, StorageError

Handler = Callable[[Request, Exception], Awaitable[Response]]


class Failure(Answer):
    """Of every refusal: one line."""

    error: str


def add_refusals(app: FastAPI) -> None:
    """Turn what endpoints raise into that line, and a status that says whose mistake it is."""
    handlers: dict[type[Exception], Handler] = {
        RayographError: _refused,
        RequestValidationError: _invalid,
        HTTPException: _http,
        Exception: _defect,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _line(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": " ".join(text.split())}, status)


async def _refused(_: Request, error: Exception) -> Response:
    match error:
        case MissingObjectError():
            return _line(404, str(error))
        case ResourceError():
            return _line(409, str(error))
        case StorageError():
            return _line(503, str(error))
    return _line(422, str(error))


async def _invalid(_: Request, error: Exception) -> Response:
    reported: list[ErrorDetails] = getattr(error, "errors", list)()
    findings: list[ErrorDetails] = [{**found, "loc": found["loc"][1:]} for found in reported]
    if any(found["type"] == "json_invalid" for found in findings):
        return _line(400, f"body: not JSON: {findings[0]['ctx']['error']}")
    return _line(422, told(findings, Submission, "") or "body: expected a JSON object")


async def _http(_: Request, error: Exception) -> Response:
    return _line(getattr(error, "status_code", 400), str(getattr(error, "detail", error)))


async def _defect(_: Request, error: Exception) -> Response:
    return _line(500, f"a defect of ours, of which the app's log has more: {type(error).__name__}")
