"""The body of a request to the HTTP app: JSON in which every key stands once, as in a request's rows."""

import json
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import JsonValue

from rayograph.conditioning.values import once
from rayograph.errors import DataError


class _Body(Request):
    """Python's JSON reader takes the last of a key's values without a word."""

    async def json(self) -> JsonValue:
        """Raises HTTPException for a key that stands twice."""
        try:
            said: JsonValue = json.loads(await self.body(), object_pairs_hook=partial(once, where="body", what="field"))
            return said
        except DataError as error:
            raise HTTPException(422, str(error)) from error


class BodyRoute(APIRoute):
    """A route whose body is read so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's own, of another request."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_Body(request.scope, request.receive))

        return handle
