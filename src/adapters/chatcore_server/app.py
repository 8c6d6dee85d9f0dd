"""The composition root: chooses the adapter behind each port."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

from chatcore import Accounts, Clock, Messenger
from chatcore.model import utc_now
from chatcore.ports import PasswordHasher
from chatcore.trimming import trimming
from chatcore_argon2 import Argon2Hasher
from chatcore_jwt import JwtTokens
from chatcore_litestar import Streams, create_app
from chatcore_litestar.app import AppOptions
from chatcore_server.clock import NodeClock
from chatcore_server.database import database_file, open_store
from chatcore_server.doorbells import open_doorbell
from chatcore_server.issuer import authenticator_of
from chatcore_server.key_file import forget_key_of_missing, key_of
from chatcore_server.nodes import as_node
from chatcore_server.observe.failure_log import summarise_outages
from chatcore_server.observe.health import readiness
from chatcore_server.observe.log_lines import configure_logging
from chatcore_server.observe.request_log import ASGIApp, Receive, Scope, Send, log_requests
from chatcore_server.secret import key_digests, tokens_of
from chatcore_server.settings import CannotStart, Settings
from chatcore_sqlalchemy import SqlAlchemyStore


@asynccontextmanager
async def open_app(
    settings: Settings,
    streams: Streams | None = None,
    *,
    chores: bool = True,
    clock: Clock = utc_now,
) -> AsyncIterator[ASGIApp]:
    """Yield the service as an ASGI application, ready to use without a lifespan of its own.

    Leaving the context finishes the writes under way. Without `chores`, another process must trim
    the event logs and drain the outbox. `clock` is that of this machine. Raises CannotStart.
    """
    streams = streams or Streams()
    file = database_file(settings)
    tokens_for = None if settings.jwks_url else _token_source(settings, file)
    if file is not None:
        forget_key_of_missing(file)
    async with AsyncExitStack() as resources:
        resources.enter_context(summarise_outages())
        store = await open_store(settings, writable=True)
        resources.push_async_callback(store.close)
        if file is None:
            clock = await resources.enter_async_context(_among_nodes(settings, store, clock))
        tokens = tokens_for and tokens_for(store)
        hasher: PasswordHasher = await resources.enter_async_context(Argon2Hasher())
        doorbell = await resources.enter_async_context(open_doorbell(settings, store))
        requests = None
        if settings.metrics is not None:
            # Imported only on demand: the library slows the start.
            from chatcore_server.observe.counting import CountedDoorbell, CountedHasher, Requests
            from chatcore_server.observe.metrics import Figures, serve_metrics

            requests = Requests()
            hasher, doorbell = CountedHasher(hasher), CountedDoorbell(doorbell)
            figures = Figures(requests, streams, store, doorbell, hasher)
            await resources.enter_async_context(serve_metrics(settings.metrics, figures))
        messenger = Messenger(store, doorbell=doorbell, realm=settings.realm, clock=clock)
        if chores:
            await resources.enter_async_context(_doing_chores(settings, messenger))
        options: AppOptions = {
            "clock": clock,
            "streams": streams,
            "trusted_proxies": settings.trusted_proxies,
            "page": settings.page,
            "cors_origins": settings.cors_origins,
            "ready": readiness(store, streams, store.check_writes),
        }
        if tokens is None:
            login = await authenticator_of(settings, messenger, clock)
            app = create_app(messenger, authenticator=login, **options)
        else:
            accounts = _accounts(settings, store, hasher, tokens, clock)
            app = create_app(accounts, messenger, **options)
        await resources.enter_async_context(app.lifespan())
        # For servers that end the lifespan before they wait for open streams.
        resources.callback(streams.end_all)
        logged = log_requests(app, every=settings.access_log)
        yield logged if requests is None else requests.counted(logged)


@asynccontextmanager
async def _doing_chores(settings: Settings, messenger: Messenger) -> AsyncIterator[None]:
    """Within this context, trim the event logs and drain the outbox. Raises CannotStart."""
    async with AsyncExitStack() as resources:
        age = timedelta(days=settings.keep_events_days)
        await resources.enter_async_context(trimming(messenger, settings.keep_events, age))
        if settings.outbox_url is not None:
            # Imported only on demand: few services have an outbox.
            from chatcore_server.outboxes import draining

            await resources.enter_async_context(draining(settings, messenger))
        yield


@asynccontextmanager
async def _among_nodes(
    settings: Settings, store: SqlAlchemyStore, own: Clock
) -> AsyncIterator[Clock]:
    """Within this context, this process is a node; yields the clock of all. Raises CannotStart."""
    clock, digests_of = NodeClock(own), None
    if settings.secret is not None and settings.jwks_url is None:
        digests_of = partial(key_digests, settings.secret)
    async with as_node(store, digests_of, clock):
        yield clock


def _accounts(
    settings: Settings,
    store: SqlAlchemyStore,
    hasher: PasswordHasher,
    tokens: JwtTokens,
    clock: Clock,
) -> Accounts:
    return Accounts(
        store,
        hasher,
        tokens,
        clock=clock,
        refuse_common_passwords=settings.refuse_common_passwords,
        session_idle=timedelta(days=settings.session_idle_days),
        session_longest=timedelta(days=settings.session_days),
    )


def _token_source(settings: Settings, file: Path | None) -> Callable[[SqlAlchemyStore], JwtTokens]:
    """Check the secret now, before any data is touched; read a key file once the store is open."""
    if settings.secret is not None:
        tokens = tokens_of(settings.secret)
        return lambda _: tokens
    if file is None:
        raise CannotStart(
            "CHATCORE_SECRET is missing: set it, since only a SQLite file gets a key file"
        )
    return lambda store: JwtTokens(key_of(file, new=store.created))


def create() -> ASGIApp:
    """Create the service for an ASGI server with lifespan support, from environment variables:
    `granian --interface asgi --factory chatcore_server.app:create`.

    Run one process: a SQLite file admits no second. Limits on request heads, slow peers and
    connections are those of the ASGI server. Raises CannotStart.
    """
    settings = Settings.read(os.environ, {})
    configure_logging(settings.log)
    return _Lifespan(settings)


class _Lifespan:
    """Opens the application at the server's lifespan startup and closes it at shutdown."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        try:
            async with open_app(self._settings) as self._app:
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except CannotStart as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        else:
            await send({"type": "lifespan.shutdown.complete"})
