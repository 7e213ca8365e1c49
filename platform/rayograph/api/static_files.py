"""The gallery's page: a handful of files that need nothing from elsewhere."""

import os
from functools import cache
from importlib import resources

from fastapi import FastAPI, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PACKAGE, FOLDER = "rayograph.api", "gallery"


@cache
def page_paths() -> frozenset[str]:
    """Where its files are found: the page itself at /, the others by their names."""
    names = {file.name for file in resources.files(PACKAGE).joinpath(FOLDER).iterdir()} - {"index.html"}
    return frozenset({"/"} | {f"/{name}" for name in names})


def add_page(app: FastAPI) -> None:
    """Serve its files, each under a path of its own, so that other paths stay as they are."""
    files = _Revalidated(packages=[(PACKAGE, FOLDER)], html=True)
    app.router.routes += [Route(path, files, include_in_schema=False) for path in sorted(page_paths())]


class _Revalidated(StaticFiles):
    """Browsers ask before every use whether a file is still the same: an upgrade's page never meets old scripts."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """As Starlette's, with that header."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["cache-control"] = "no-cache"
        return response
