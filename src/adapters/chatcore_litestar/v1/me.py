"""The routes under /v1/me: my account, its password and its tokens."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from litestar import Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.types import ASGIApp

from chatcore import InvalidToken, UserNotFound
from chatcore.accounts import MIN_PASSWORD
from chatcore_litestar.context import Context
from chatcore_litestar.openapi import TEXT, operation, with_problems
from chatcore_litestar.options import options
from chatcore_litestar.replies import Reply, done, encode
from chatcore_litestar.requests import (
    UserRequest,
    decode_password,
    decode_password_change,
    read_body,
)

_PASSWORD = Schema(type=OpenAPIType.STRING, min_length=MIN_PASSWORD)


class Me(msgspec.Struct):
    user: str
    handle: str


class NewToken(msgspec.Struct):
    token: str


def me_routes(context: Context) -> list[HTTPRouteHandler]:
    """Routes that need `authentication` on their router. Without accounts only `GET /me`: a host
    erases its users itself."""
    if not context.has_accounts:
        return [_show_route()]
    return [
        options("/me", "GET", "DELETE"),
        _show_route(),
        _erase_route(context),
        *_token_routes(context),
    ]


def _show_route() -> HTTPRouteHandler:
    @get(
        "/me",
        summary="Get my name and handle",
        operation_class=operation(),
        responses=with_problems(Me, 200),
    )
    async def show_me(request: UserRequest) -> ASGIApp:
        return Reply(200, encode(Me(request.user.name, request.user.handle)))

    return show_me


def _erase_route(context: Context) -> HTTPRouteHandler:
    @delete(
        "/me",
        status_code=204,
        summary="Erase my account permanently",
        description="My messages stay with their recipients, under a name that says that this "
        "user was deleted. My name is never given to an account again.",
        operation_class=operation(body={"password": TEXT}),
        responses=with_problems(None, 204, 403, 408, 413, 415, 429),
    )
    async def erase_me(request: UserRequest) -> Response[None]:
        body = await read_body(request, decode_password, context.body_seconds)
        address = context.address_of(request.scope)
        await context.accounts.erase(request.user, body.password, address=address)
        return done()

    return erase_me


def _token_routes(context: Context) -> list[HTTPRouteHandler]:
    @put(
        "/me/password",
        summary="Change my password and revoke every token issued before",
        description="Only the new token is valid; streams and long polls with other tokens end.",
        operation_class=operation(body={"current_password": TEXT, "new_password": _PASSWORD}),
        responses=with_problems(NewToken, 200, 403, 408, 413, 415, 422, 429),
    )
    async def change_password(request: UserRequest) -> ASGIApp:
        body = await read_body(request, decode_password_change, context.body_seconds)
        with _erased_is_invalid_token():
            token = await context.accounts.change_password(
                request.user,
                body.current_password,
                body.new_password,
                address=context.address_of(request.scope),
            )
        return Reply(200, encode(NewToken(token)))

    @post(
        "/logout-everywhere",
        status_code=204,
        summary="Revoke every token issued before, including the one used here",
        operation_class=operation(),
        responses=with_problems(None, 204),
    )
    async def log_out_everywhere(request: UserRequest) -> Response[None]:
        with _erased_is_invalid_token():
            claims = request.auth.session.claims
            await context.accounts.log_out_everywhere(request.user, proven_by=claims)
        return done()

    return [change_password, log_out_everywhere]


@contextmanager
def _erased_is_invalid_token() -> Iterator[None]:
    """Turn UserNotFound into InvalidToken: the user was erased during the request."""
    try:
        yield
    except UserNotFound:
        raise InvalidToken from None
