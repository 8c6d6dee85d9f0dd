"""The routes of device sessions: sign in, renew, list, and end one."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.types import ASGIApp

from chatcore import DeviceTokens
from chatcore.devices import MAX_DEVICE
from chatcore_litestar.auth import session_id_of
from chatcore_litestar.context import Context
from chatcore_litestar.openapi import CREDENTIALS, TEXT, in_path, operation, with_problems
from chatcore_litestar.replies import Reply, done, encode
from chatcore_litestar.requests import UserRequest, decode_refresh, decode_sign_in, read_body

_DEVICE = Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_DEVICE)
_SESSION_ID = Schema(type=OpenAPIType.STRING, pattern="^[0-9a-f]{32}$")


class SessionTokens(msgspec.Struct):
    session_id: str
    token: str
    expires_in: int
    """Seconds until the token expires."""
    refresh_token: str


class SessionItem(msgspec.Struct):
    session_id: str
    device: str
    created_at: str
    used_at: str
    """When it was renewed last, or else `created_at`."""
    current: bool
    """Whether the token of this request is of this session."""


class SessionList(msgspec.Struct):
    sessions: list[SessionItem]


def open_session_routes(context: Context) -> list[HTTPRouteHandler]:
    """The routes that need no token."""

    @post(
        "/sessions",
        summary="Sign in on a device",
        description="The session lasts until it ends or is not renewed for long. Its token is "
        "short-lived: renew the session before it expires, or after a 401.",
        operation_class=operation(body={**CREDENTIALS, "device": _DEVICE}),
        responses=with_problems(SessionTokens, 201, 403, 408, 413, 415, 422, 429),
    )
    async def sign_in(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_body(request, decode_sign_in, context.body_seconds)
        tokens = await context.accounts.devices.sign_in(
            body.username,
            body.password,
            body.device,
            address=context.address_of(request.scope),
        )
        return Reply(201, _tokens(tokens, context.clock()))

    @post(
        "/sessions/renew",
        status_code=200,
        summary="Renew a session by its refresh token",
        description="Keep the new refresh token: it replaces this one. If the answer is lost, "
        "repeat the request within 60 seconds; the answer has the same refresh token. A later use "
        "of this one ends the session, as a theft would.",
        operation_class=operation(body={"refresh_token": TEXT}),
        responses=with_problems(SessionTokens, 200, 408, 413, 415),
    )
    async def renew(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_body(request, decode_refresh, context.body_seconds)
        tokens = await context.accounts.devices.renew(body.refresh_token)
        return Reply(200, _tokens(tokens, context.clock()))

    return [sign_in, renew]


def session_routes(context: Context) -> list[HTTPRouteHandler]:
    """Routes that need `authentication` on their router."""

    @get(
        "/me/sessions",
        summary="List my sessions, the most recently used first",
        operation_class=operation(),
        responses=with_problems(SessionList, 200),
    )
    async def list_sessions(request: UserRequest) -> ASGIApp:
        current = session_id_of(request.auth)
        items = [
            SessionItem(
                session.id,
                session.device,
                shown(session.created_at),
                shown(session.used_at),
                session.id == current,
            )
            for session in await context.accounts.devices.sessions(request.user)
        ]
        return Reply(200, encode(SessionList(items)))

    @delete(
        "/me/sessions/{session_id:str}",
        status_code=204,
        summary="End one of my sessions",
        description="Its tokens are void and its streams end: here at once, on other nodes within "
        "60 seconds. To end the current one is to sign out.",
        operation_class=operation(parameters=[in_path("session_id", _SESSION_ID)]),
        responses=with_problems(None, 204, 404),
    )
    async def end_session(request: UserRequest) -> Response[None]:
        await context.accounts.devices.end(request.user, request.path_params["session_id"])
        return done()

    return [list_sessions, end_session]


def _tokens(tokens: DeviceTokens, now: datetime) -> bytes:
    seconds = max(int((tokens.expires_at - now).total_seconds()), 0)
    return encode(
        SessionTokens(tokens.session_id, tokens.access_token, seconds, tokens.refresh_token)
    )


def shown(moment: datetime) -> str:
    # As the times of messages.
    return moment.isoformat(timespec="microseconds")[:26] + "Z"
