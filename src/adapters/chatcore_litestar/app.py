"""Puts the routes together."""

import msgspec
from litestar import Litestar, Router, get
from litestar.types import ASGIApp

from chatcore import Accounts, Clock, Messenger
from chatcore.model import utc_now
from chatcore_litestar.auth import bearer_auth
from chatcore_litestar.errors import EXCEPTION_HANDLERS
from chatcore_litestar.fixed import account_routes, chat_routes, encode
from chatcore_litestar.openapi import openapi_config, returns
from chatcore_litestar.replies import Reply
from chatcore_litestar.requests import MAX_BODY


def chat_router(
    accounts: Accounts,
    messenger: Messenger,
    *,
    path: str = "/",
    clock: Clock = utc_now,
    body_seconds: float = 20,
    send_seconds: float = 30,
) -> Router:
    """The six routes, to be mounted in any Litestar application.

    Errors raised inside these routes have the shape `{"error": "<text>"}`; the host's own
    handlers, its 404 and its 405 stay as they are. `clock` tells when a token has expired
    and is the one that `accounts` was given. A request has `body_seconds` to send its body;
    a client that takes nothing of a streamed history for `send_seconds` is dropped.
    """
    return Router(
        path=path,
        route_handlers=[
            *account_routes(accounts, body_seconds),
            Router(
                path="/",
                route_handlers=chat_routes(messenger, body_seconds, send_seconds),
                middleware=[bearer_auth(accounts, clock)],
                security=[{"bearer": []}],
            ),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=MAX_BODY,
    )


def create_app(
    accounts: Accounts,
    messenger: Messenger,
    *,
    clock: Clock = utc_now,
    body_seconds: float = 20,
    send_seconds: float = 30,
) -> Litestar:
    """An application of the six routes (as `chat_router` has them), `GET /healthz`, and the
    OpenAPI document at `/schema/openapi.json`. Every error has the shape
    `{"error": "<text>"}`."""
    router = chat_router(
        accounts, messenger, clock=clock, body_seconds=body_seconds, send_seconds=send_seconds
    )
    return Litestar(
        route_handlers=[router, healthz],
        exception_handlers=EXCEPTION_HANDLERS,
        # Litestar's own logging would configure the process's loggers behind the host's back.
        logging_config=None,
        openapi_config=openapi_config(),
    )


class Health(msgspec.Struct):
    status: str


@get("/healthz", summary="Whether the service answers", responses=returns(Health, 200))
async def healthz() -> ASGIApp:
    return Reply(200, encode(Health("ok")))
