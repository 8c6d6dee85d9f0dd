"""Puts the routes together."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from litestar import Litestar, Router, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, ControllerRouterHandler

from chatcore import Accounts, Clock, Messenger
from chatcore.model import utc_now
from chatcore_litestar.auth import bearer_auth
from chatcore_litestar.errors import EXCEPTION_HANDLERS
from chatcore_litestar.fixed import account_routes, chat_routes
from chatcore_litestar.replies import Reply
from chatcore_litestar.requests import MAX_BODY

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


def chat_router(
    accounts: Accounts, messenger: Messenger, *, path: str = "/", clock: Clock = utc_now
) -> Router:
    """The six routes, to be mounted in any Litestar application.

    Errors raised inside these routes have the shape `{"error": "<text>"}`; the host's own
    handlers, its 404 and its 405 stay as they are. `clock` tells when a token has expired
    and is the one that `accounts` was given.
    """
    return Router(
        path=path,
        route_handlers=[
            *account_routes(accounts),
            Router(
                path="/",
                route_handlers=chat_routes(messenger),
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
    lifespan: Sequence[Lifespan] = (),
    **options: Any,
) -> Litestar:
    """An application of the six routes, `GET /healthz`, and the OpenAPI document at
    `/schema/openapi.json`. Every error has the shape `{"error": "<text>"}`."""
    handlers: list[ControllerRouterHandler] = [
        chat_router(accounts, messenger, clock=clock),
        healthz,
    ]
    return Litestar(
        route_handlers=handlers,
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=list(lifespan),
        # Litestar's own logging would configure the process's loggers behind the host's back.
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="chatcore",
            version="1",
            # The other plugins' pages load scripts from elsewhere.
            render_plugins=[JsonRenderPlugin()],
            components=Components(
                security_schemes={
                    "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")
                }
            ),
        ),
        **options,
    )


@get("/healthz", summary="Whether the service answers")
async def healthz() -> ASGIApp:
    return Reply(200, b'{"status":"ok"}')
