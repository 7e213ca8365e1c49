"""The gallery's page: a handful of files that need nothing from elsewhere."""

from collections.abc import Callable
from functools import cache
from importlib import resources

from fastapi import FastAPI, Response

SCRIPTS = ("dom", "images", "jobs", "page", "submit", "view")
FILES = {"/": "index.html", "/page.css": "page.css", "/icon.svg": "icon.svg"} | {f"/{s}.js": f"{s}.js" for s in SCRIPTS}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def add_page(app: FastAPI) -> None:
    """Its files, each under a path of its own, for browsers to ask after before every use."""
    for path, name in FILES.items():
        app.add_api_route(path, _route(name), methods=["GET"], include_in_schema=False, response_class=Response)


def _route(name: str) -> Callable[[], Response]:
    def serve() -> Response:
        return Response(_read(name), media_type=_TYPES[name.rpartition(".")[2]], headers={"cache-control": "no-cache"})

    return serve


@cache
def _read(name: str) -> bytes:
    return resources.files("rayograph.api").joinpath("gallery", name).read_bytes()
