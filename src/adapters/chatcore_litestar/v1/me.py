"""The routes under /v1/me: my account, and what belongs to it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial

import msgspec
from litestar import Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.types import ASGIApp

from chatcore import Accounts, InvalidToken, Messenger, UserNotFound
from chatcore.accounts import MIN_PASSWORD
from chatcore.exporting import export
from chatcore_litestar.auth import Sessions
from chatcore_litestar.client import AddressOf
from chatcore_litestar.openapi import TEXT, answers, operation
from chatcore_litestar.options import options
from chatcore_litestar.replies import Reply, Streamed, done, encode, encode_lines
from chatcore_litestar.requests import (
    UserRequest,
    decode_password,
    decode_password_change,
    read_body,
)
from chatcore_litestar.v1.events import WAITS
from chatcore_litestar.v1.items import export_lines

_PASSWORD = Schema(type=OpenAPIType.STRING, min_length=MIN_PASSWORD)
_EXPORT_HEADERS = [
    (b"content-type", b"application/jsonl"),
    (b"content-disposition", b'attachment; filename="chatcore.jsonl"'),
]


class Me(msgspec.Struct):
    user: str


class NewToken(msgspec.Struct):
    token: str


def me_routes(
    accounts: Accounts,
    messenger: Messenger,
    sessions: Sessions,
    address_of: AddressOf,
    body_seconds: float,
    send_seconds: float,
) -> list[HTTPRouteHandler]:
    """For a router under `/v1` that puts the user into `scope["user"]` and what proves it
    into `scope["auth"]`."""

    @get(
        "/me",
        summary="Who I am",
        operation_class=operation(),
        responses=answers(Me, 200),
    )
    async def show_me(request: UserRequest) -> ASGIApp:
        return Reply(200, encode(Me(request.user.name)))

    @put(
        "/me/password",
        summary="Change my password, and void every token issued before",
        description="The new token goes on; what streams and waits with others ends.",
        operation_class=operation(body={"current_password": TEXT, "new_password": _PASSWORD}),
        responses=answers(NewToken, 200, 403, 408, 413, 415, 422, 429),
    )
    async def change_password(request: UserRequest) -> ASGIApp:
        body = await read_body(request, decode_password_change, body_seconds)
        with _erased_is_invalid_token():
            token = await accounts.change_password(
                request.user,
                body.current_password,
                body.new_password,
                address=address_of(request.scope),
            )
        return Reply(200, encode(NewToken(token)))

    @post(
        "/logout-everywhere",
        status_code=204,
        summary="Void every token issued before, the one used here included",
        operation_class=operation(),
        responses=answers(None, 204),
    )
    async def log_out_everywhere(request: UserRequest) -> Response[None]:
        with _erased_is_invalid_token():
            claims = request.auth.session.claims
            await accounts.log_out_everywhere(request.user, proven_by=claims)
        return done()

    @delete(
        "/me",
        status_code=204,
        summary="Erase my account, for good",
        description="My messages stay for those I wrote to, under a name that says that I am "
        "gone. Nobody gets my name again, not even I.",
        operation_class=operation(body={"password": TEXT}),
        responses=answers(None, 204, 403, 408, 413, 415, 429),
    )
    async def erase_me(request: UserRequest) -> Response[None]:
        body = await read_body(request, decode_password, body_seconds)
        await accounts.erase(request.user, body.password, address=address_of(request.scope))
        return done()

    @get(
        "/me/export",
        summary="Everything of mine",
        description="JSON Lines, each an object with a `type`: `user`; a `block` for each whom I "
        "block; each `chat`, followed by its `message`s; `end`, with how much there was.",
        operation_class=operation(
            headers={200: {"Content-Disposition": "`attachment`, with a name for the file."}}
        ),
        responses=answers(None, 200) | {200: ResponseSpec(bytes, False, "OK", "application/jsonl")},
    )
    async def export_mine(request: UserRequest) -> ASGIApp:
        user = request.user
        pieces = export(messenger, user)
        # Before the head, so that a store that fails is a 503: the first one does not ask it.
        begin = [await anext(pieces), await anext(pieces)]
        # What takes long on purpose is not slow.
        request.scope[WAITS] = True  # type: ignore[literal-required]

        async def encoded() -> AsyncIterator[bytes]:
            for piece in begin:
                yield encode_lines(export_lines(piece, user))
            async for piece in pieces:
                yield encode_lines(export_lines(piece, user))

        # What is cut lacks its last line, and says so by that, too.
        authenticate = partial(sessions.find, request.auth.token)
        return Streamed(encoded(), send_seconds, _EXPORT_HEADERS, authenticate)

    return [
        options("/me", "GET", "DELETE"),
        show_me,
        change_password,
        log_out_everywhere,
        erase_me,
        export_mine,
    ]


@contextmanager
def _erased_is_invalid_token() -> Iterator[None]:
    """Turn UserNotFound into InvalidToken: the user was erased while the request waited."""
    try:
        yield
    except UserNotFound:
        raise InvalidToken from None
