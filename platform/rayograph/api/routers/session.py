"""Showing the token once: a cookie keeps it for the browser's session."""

from fastapi import APIRouter, HTTPException, Request, Response

from rayograph.api.bodies import BodyRoute
from rayograph.api.guards.security import COOKIE, SESSION, is_token
from rayograph.api.schemas import Answer
from rayograph.api.services import Given
from rayograph.api.submission import Token

router = APIRouter(route_class=BodyRoute)


class Session(Answer):
    """What a page must know before it asks for anything."""

    token_required: bool


@router.get(SESSION, summary="Whether this app asks for a token")
def session(given: Given) -> Session:
    return Session(token_required=given.token_sha256 is not None)


@router.post(SESSION, status_code=204, summary="Show the token once; a cookie keeps it for the browser's session")
def sign_in(body: Token, given: Given, request: Request, response: Response) -> None:
    if given.token_sha256 is None:
        return
    if not is_token(body.token, given.token_sha256):
        raise HTTPException(401, "token: expected this app's, got another one")
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, body.token, httponly=True, samesite="strict", secure=secure)


@router.delete(SESSION, status_code=204, summary="Forget the cookie")
def sign_out(response: Response) -> None:
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
