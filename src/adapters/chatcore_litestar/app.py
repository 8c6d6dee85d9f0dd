"""Assemble the routes into a router or an application."""

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict, Unpack, overload

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.openapi.spec import SecurityRequirement
from litestar.types import ControllerRouterHandler, Message, Scope

from chatcore import Accounts, BearerTokens, Clock, Messenger
from chatcore.model import Seconds, elapsed, utc_now
from chatcore.ports import Authenticator
from chatcore_litestar import contract
from chatcore_litestar.auth import authentication
from chatcore_litestar.client import Network, address_behind
from chatcore_litestar.context import Context
from chatcore_litestar.errors import EXCEPTION_HANDLERS
from chatcore_litestar.health import Ready, always, health_routes
from chatcore_litestar.openapi import (
    BEARER,
    describe_writes,
    openapi_config,
    with_errors,
    with_problems,
)
from chatcore_litestar.page import page_routes
from chatcore_litestar.replies import SAFETY, SAFETY_BY_NAME
from chatcore_litestar.requests import MAX_BODY
from chatcore_litestar.streams import Streams
from chatcore_litestar.v1.blocks import block_routes
from chatcore_litestar.v1.chats import chat_routes
from chatcore_litestar.v1.events import event_routes
from chatcore_litestar.v1.export import export_routes
from chatcore_litestar.v1.me import me_routes
from chatcore_litestar.v1.messages import message_routes
from chatcore_litestar.v1.problems import HANDLERS_BY_PATH, PROBLEM_HANDLERS, refusal
from chatcore_litestar.v1.sessions import open_session_routes, session_routes


class RouterOptions(TypedDict, total=False):
    """The keyword arguments that `chat_router` and `create_app` share."""

    clock: Clock
    """The clock of the accounts; it decides when a session has expired."""
    seconds: Seconds
    """A clock that never steps back; it limits how long a session is cached."""
    body_seconds: float
    """Time a client has to send a body; 20."""
    send_seconds: float
    """A client that accepts no data for so long is disconnected; 30."""
    streams: Streams
    """A server that stops calls `streams.end_all()` first."""
    trusted_proxies: Iterable[str | Network]
    """Addresses and networks of the proxies whose X-Forwarded-For names the client."""
    origins: Iterable[str]
    """For an ambient authenticator: the origins of the host's own pages."""


class AppOptions(RouterOptions, total=False):
    """The keyword arguments of `create_app`."""

    page: bool
    cors_origins: Sequence[str]
    ready: Ready


@overload
def chat_router(
    accounts: Accounts,
    messenger: Messenger,
    *,
    path: str = "/",
    **options: Unpack[RouterOptions],
) -> Router: ...
@overload
def chat_router(
    messenger: Messenger,
    *,
    authenticator: Authenticator,
    path: str = "/",
    **options: Unpack[RouterOptions],
) -> Router: ...
def chat_router(*parts: Any, path: str = "/", **options: Any) -> Router:
    """Build a router of the fixed routes and the routes under /v1, to mount in any Litestar app.

    The fixed routes answer errors with `{"error": "<text>"}`, the routes under /v1 with problem
    details. The host's own handlers, 404 and 405 are untouched.

    With `accounts`, users register and log in here. With an `authenticator`, the host's users
    chat: there are no accounts, and so no `POST /register` and `POST /login`, no `DELETE /v1/me`,
    `PUT /v1/me/password` and `POST /v1/logout-everywhere`, and no device sessions.

    If the authenticator is ambient, a request that may change something must come from a page of
    the service's own origin, which browsers mark with `Sec-Fetch-Site: same-origin`, or of one of
    `origins` (such as `https://shop.example`), with a body of JSON or none. Others get 403 and 415.

    `clock` must be the clock of `accounts`; it decides when a session has expired. `seconds` never
    steps back; it limits how long a session is cached. A request has `body_seconds` (20) to send
    its body. A client that accepts no data for `send_seconds` (30) is disconnected. A server that
    stops calls `streams.end_all()` first.

    Login attempts and registrations are limited per client address. Behind `trusted_proxies`
    (addresses and networks) that address is read from X-Forwarded-For. Raises ValueError for
    an entry that is neither, or an invalid origin.
    """
    context = _context(*parts, **options)
    ambient = context.sessions.ambient
    return router_on(context, path, ambient=ambient, security=() if ambient else BEARER)


def router_on(
    context: Context,
    path: str,
    *,
    ambient: bool,
    security: Sequence[SecurityRequirement],
    tags: Sequence[str] = (),
    fixed_routes: bool = True,
    page: bool = False,
) -> Router:
    """Build the router of a context, which may be opened later. `ambient` says whether its
    credentials may be ambient, for the OpenAPI document, as `security` and `tags` are."""
    fixed = contract.chat_routes(context)
    v1 = [
        *chat_routes(context),
        *message_routes(context),
        *block_routes(context),
        *event_routes(context),
        *me_routes(context),
        *export_routes(context),
        *(session_routes(context) if context.has_accounts else ()),
    ]
    if ambient:
        describe_writes(fixed, with_errors(None, 403, 415))
        describe_writes(v1, with_problems(None, 403, 415))
    fixed_router = Router(
        path="/",
        route_handlers=fixed,
        middleware=[authentication(context)],
        security=security,
    )
    v1_router = Router(
        path="/v1",
        route_handlers=v1,
        middleware=[authentication(context, refusal)],
        security=security,
        exception_handlers=PROBLEM_HANDLERS,
    )
    return Router(
        path=path,
        route_handlers=[
            *(_open_routes(context, fixed_routes) if context.has_accounts else ()),
            *([fixed_router] if fixed_routes else ()),
            v1_router,
            *(page_routes() if page else ()),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=MAX_BODY,
        tags=tags,
    )


def _open_routes(context: Context, fixed_routes: bool) -> Sequence[ControllerRouterHandler]:
    """The routes by which users with accounts register and log in, without a token."""
    sessions = Router(
        path="/v1",
        route_handlers=open_session_routes(context),
        exception_handlers=PROBLEM_HANDLERS,
    )
    return [*(contract.account_routes(context) if fixed_routes else ()), sessions]


def _context(
    *parts: Accounts | Messenger,
    accounts: Accounts | None = None,
    messenger: Messenger | None = None,
    authenticator: Authenticator | None = None,
    clock: Clock = utc_now,
    seconds: Seconds = elapsed,
    body_seconds: float = 20,
    send_seconds: float = 30,
    streams: Streams | None = None,
    trusted_proxies: Iterable[str | Network] = (),
    origins: Iterable[str] = (),
) -> Context:
    for part in parts:
        if isinstance(part, Messenger):
            messenger = part
        else:
            accounts = part
    if accounts is not None and authenticator is None:
        used: Authenticator = BearerTokens(accounts)
    elif authenticator is not None and accounts is None:
        used = authenticator
    else:
        raise TypeError("give either accounts or an authenticator")
    if messenger is None:
        raise TypeError("a Messenger is missing")
    context = Context(
        has_accounts=accounts is not None,
        clock=clock,
        seconds=seconds,
        address_of=address_behind(trusted_proxies),
        origins=tuple(origins),
        body_seconds=body_seconds,
        send_seconds=send_seconds,
    )
    context.open(messenger, accounts, used, streams or Streams())
    return context


@overload
def create_app(
    accounts: Accounts,
    messenger: Messenger,
    **options: Unpack[AppOptions],
) -> Litestar: ...
@overload
def create_app(
    messenger: Messenger,
    *,
    authenticator: Authenticator,
    **options: Unpack[AppOptions],
) -> Litestar: ...
def create_app(
    *parts: Any,
    page: bool = True,
    cors_origins: Sequence[str] = (),
    ready: Ready = always,
    **options: Any,
) -> Litestar:
    """Build an application with the routes of `chat_router`, whose parameters it shares.

    It adds `GET /healthz`, `GET /readyz` (the result of `ready`), the OpenAPI document at
    `/schema/openapi.json` and, unless `page` is false or there are no accounts, the page at `/`.
    Web pages of `cors_origins` may call the routes from browsers; "*" allows every origin.

    Every error has the shape `{"error": "<text>"}`; under /v1, problem details.
    """
    context = _context(*parts, **options)
    # The page logs in with a password.
    page = page and context.has_accounts
    ambient = context.sessions.ambient
    return Litestar(
        route_handlers=[
            router_on(context, "/", ambient=ambient, security=() if ambient else BEARER),
            *health_routes(ready),
            *(page_routes() if page else ()),
        ],
        exception_handlers=HANDLERS_BY_PATH,
        # For Litestar's own answers; ours already have these headers.
        response_headers=SAFETY_BY_NAME,
        cors_config=_cors(cors_origins) if cors_origins else None,
        before_send=[_add_safety_headers] if cors_origins else [],
        # Litestar's logging would reconfigure the host's loggers.
        logging_config=None,
        openapi_config=openapi_config(context.sessions.authenticator),
    )


def _cors(origins: Sequence[str]) -> CORSConfig:
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["authorization", "content-type", "idempotency-key", "last-event-id"],
        # Tokens travel in a header; a cookie counts on pages of the service's own origin.
        allow_credentials=False,
        expose_headers=["idempotency-replayed", "link", "location", "retry-after", "x-request-id"],
    )


async def _add_safety_headers(message: Message, _scope: Scope) -> None:
    # Litestar answers preflight requests before any of our code runs.
    if message["type"] == "http.response.start":
        headers = message["headers"] = list(message["headers"])
        present = {name for name, _ in headers}
        headers.extend(header for header in SAFETY if header[0] not in present)
