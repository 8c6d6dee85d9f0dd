"""Assemble the routes into a router or an application."""

from collections.abc import Iterable, Sequence

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.types import Message, Scope

from chatcore import Accounts, Clock, Messenger
from chatcore.model import Seconds, elapsed, utc_now
from chatcore_litestar import contract
from chatcore_litestar.auth import Sessions, bearer_auth
from chatcore_litestar.client import Network, address_behind
from chatcore_litestar.context import Context
from chatcore_litestar.errors import EXCEPTION_HANDLERS
from chatcore_litestar.health import Ready, always, health_routes
from chatcore_litestar.openapi import openapi_config
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
from chatcore_litestar.v1.problems import HANDLERS_BY_PATH, PROBLEM_HANDLERS, unauthorized

_BEARER = [{"bearer": list[str]()}]


def chat_router(
    accounts: Accounts,
    messenger: Messenger,
    *,
    path: str = "/",
    clock: Clock = utc_now,
    seconds: Seconds = elapsed,
    body_seconds: float = 20,
    send_seconds: float = 30,
    streams: Streams | None = None,
    trusted_proxies: Iterable[str | Network] = (),
) -> Router:
    """Build a router of the fixed routes and the routes under /v1, to mount in any Litestar app.

    The fixed routes answer errors with `{"error": "<text>"}`, the routes under /v1 with problem
    details. The host's own handlers, 404 and 405 are untouched.

    `clock` must be the clock of `accounts`; it decides when a token has expired. `seconds` never
    steps back; it limits how long a verified token is cached. A request has `body_seconds` to send
    its body. A client that accepts no data for `send_seconds` is disconnected. A server that stops
    calls `streams.end_all()` first.

    Login attempts and registrations are limited per client address. Behind `trusted_proxies`
    (addresses and networks) that address is read from X-Forwarded-For. Raises ValueError for
    an entry that is neither.
    """
    sessions = Sessions(accounts, clock, seconds)
    streams = streams or Streams()
    # A rename ends no stream: its token stays valid.
    accounts.changes.subscribe(streams.end_of, renames=False)
    context = Context(
        accounts=accounts,
        messenger=messenger,
        sessions=sessions,
        streams=streams,
        clock=clock,
        address_of=address_behind(trusted_proxies),
        body_seconds=body_seconds,
        send_seconds=send_seconds,
    )
    fixed = Router(
        path="/",
        route_handlers=contract.chat_routes(context),
        middleware=[bearer_auth(sessions)],
        security=_BEARER,
    )
    return Router(
        path=path,
        route_handlers=[*contract.account_routes(context), fixed, _v1_router(context)],
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=MAX_BODY,
    )


def _v1_router(context: Context) -> Router:
    return Router(
        path="/v1",
        route_handlers=[
            *chat_routes(context),
            *message_routes(context),
            *block_routes(context),
            *event_routes(context),
            *me_routes(context),
            *export_routes(context),
        ],
        middleware=[bearer_auth(context.sessions, unauthorized)],
        security=_BEARER,
        exception_handlers=PROBLEM_HANDLERS,
    )


def create_app(
    accounts: Accounts,
    messenger: Messenger,
    *,
    clock: Clock = utc_now,
    seconds: Seconds = elapsed,
    body_seconds: float = 20,
    send_seconds: float = 30,
    streams: Streams | None = None,
    trusted_proxies: Iterable[str | Network] = (),
    page: bool = True,
    cors_origins: Sequence[str] = (),
    ready: Ready = always,
) -> Litestar:
    """Build an application with the routes of `chat_router`, whose parameters it shares.

    It adds `GET /healthz`, `GET /readyz` (the result of `ready`), the OpenAPI document at
    `/schema/openapi.json` and, unless `page` is false, the page at `/`. Web pages of
    `cors_origins` may call the routes from browsers; "*" allows every origin.

    Every error has the shape `{"error": "<text>"}`; under /v1, problem details.
    """
    router = chat_router(
        accounts,
        messenger,
        clock=clock,
        seconds=seconds,
        body_seconds=body_seconds,
        send_seconds=send_seconds,
        streams=streams,
        trusted_proxies=trusted_proxies,
    )
    return Litestar(
        route_handlers=[router, *health_routes(ready), *(page_routes() if page else ())],
        exception_handlers=HANDLERS_BY_PATH,
        # For Litestar's own answers; ours already have these headers.
        response_headers=SAFETY_BY_NAME,
        cors_config=_cors(cors_origins) if cors_origins else None,
        before_send=[_add_safety_headers] if cors_origins else [],
        # Litestar's logging would reconfigure the host's loggers.
        logging_config=None,
        openapi_config=openapi_config(),
    )


def _cors(origins: Sequence[str]) -> CORSConfig:
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["authorization", "content-type", "idempotency-key", "last-event-id"],
        # Tokens travel in a header; there are no cookies.
        allow_credentials=False,
        expose_headers=["idempotency-replayed", "link", "location", "retry-after", "x-request-id"],
    )


async def _add_safety_headers(message: Message, _scope: Scope) -> None:
    # Litestar answers preflight requests before any of our code runs.
    if message["type"] == "http.response.start":
        headers = message["headers"] = list(message["headers"])
        present = {name for name, _ in headers}
        headers.extend(header for header in SAFETY if header[0] not in present)
