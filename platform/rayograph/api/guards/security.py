"""Before any request is looked at: whose it is, where it comes from, how many came before it, how large it is."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rayograph.api.guards.rate_limits import Buckets, Limits
from rayograph.api.static_files import page_paths

COOKIE = "rayograph_session"
SESSION = "/v1/session"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Refused(Exception):
    """An answer instead of the request's own: a status, one line, headers."""

    def __init__(self, status: int, line: str, **headers: str) -> None:
        super().__init__(line)
        self.status, self.headers = status, headers


def is_token(token: str, token_sha256: str | None) -> bool:
    """By digests, in a time that tells nothing of where they differ."""
    return token_sha256 is not None and hmac.compare_digest(hashlib.sha256(token.encode()).hexdigest(), token_sha256)


class Security:
    """ASGI middleware. Without a token only this machine's own names are answered to: a foreign site that points its
    name here (DNS rebinding) is refused, as is one whose pages send requests (CSRF)."""

    def __init__(
        self, app: ASGIApp, token_sha256: str | None, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app, self._token_sha256, self._limits = app, token_sha256, limits
        self._requests, self._costly = Buckets(limits.requests, clock), Buckets(limits.costly, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            headers = Headers(scope=scope)
            self._origin(headers)
            self._rate(scope)
            self._token(scope, headers)
            body = await self._body(headers, receive)
        except Refused as refused:
            await _answer(refused, sealed)
            return
        await self._app(scope, _replayed(body, receive), sealed)

    def _origin(self, headers: Headers) -> None:
        host = headers.get("host", "")
        if self._token_sha256 is None and _hostname(host) not in LOOPBACK:
            raise Refused(403, f"Host: expected localhost, as this app asks for no token, got {host[:120]!r}")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Refused(403, f"Origin: expected this app's own page, got {origin[:120]!r}")
        foreign = origin is None and headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign and headers.get("sec-fetch-mode") != "navigate":  # a link that leads here may
            raise Refused(403, "Sec-Fetch-Site: expected this app's own page, got a foreign one")

    def _rate(self, scope: Scope) -> None:
        client = (scope.get("client") or ("unknown", 0))[0]
        wait = self._requests.take(client)
        if not wait and scope["method"] == "POST" and _is_costly(scope["path"]):
            wait = self._costly.take(client)
        if wait:
            seconds = max(1, round(wait + 0.5))
            raise Refused(429, f"too many requests: the next one in {seconds} s", **{"retry-after": str(seconds)})

    def _token(self, scope: Scope, headers: Headers) -> None:
        if self._token_sha256 is None or scope["path"] == SESSION or scope["path"] in page_paths():
            return  # anybody may have the empty page, and the way to show a token
        kind, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if kind.lower() == "bearer" else _cookie(headers)
        if given is None or not is_token(given, self._token_sha256):
            got = "none" if given is None else "another one"
            line = f"token: expected this app's, as Authorization: Bearer TOKEN, got {got}"
            raise Refused(401, line, **{"www-authenticate": "Bearer"})

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        most = self._limits.body_bytes
        too_large = Refused(413, f"body: expected at most {most:,} bytes, got more", connection="close")
        if headers.get("content-length", "0").isdecimal() and int(headers.get("content-length", "0")) > most:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                more = True
                while more:
                    message = await receive()
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > most:
                        raise too_large
        except TimeoutError:
            raise Refused(408, f"body: expected all of it within {self._limits.body_seconds:g} s") from None
        return bytes(body)


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # such as [::1
        return None


def _is_costly(path: str) -> bool:
    return path in ("/v1/jobs", SESSION) or path.endswith("/again")


def _cookie(headers: Headers) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then whatever else comes: that the client has gone."""
    waiting = [body]

    async def replay() -> Message:
        return {"type": "http.request", "body": waiting.pop()} if waiting else await receive()

    return replay


async def _answer(refused: Refused, send: Send) -> None:
    data = json.dumps({"error": str(refused)}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(data)), **refused.headers}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": pairs})
    await send({"type": "http.response.body", "body": data})
