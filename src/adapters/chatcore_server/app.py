"""The composition root: which adapter stands behind which port."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from chatcore import Accounts, Messenger
from chatcore.ports import PasswordHasher
from chatcore_argon2 import Argon2Hasher
from chatcore_jwt import JwtTokens
from chatcore_litestar import Streams, create_app
from chatcore_server.database import as_cannot_start, database_file
from chatcore_server.doorbells import open_doorbell
from chatcore_server.key_file import forget_key_of_missing, key_of
from chatcore_server.observe.failure_log import summarise_outages
from chatcore_server.observe.health import readiness
from chatcore_server.observe.log_lines import configure_logging
from chatcore_server.observe.request_log import ASGIApp, Receive, Scope, Send, log_requests
from chatcore_server.secret import tokens_of
from chatcore_server.serving.trimming import trimming
from chatcore_server.settings import CannotStart, Settings
from chatcore_sqlalchemy import SqlAlchemyStore


@asynccontextmanager
async def open_app(
    settings: Settings, streams: Streams | None = None, *, trims: bool = True
) -> AsyncIterator[ASGIApp]:
    """The service as an ASGI application that needs no lifespan of its own: it is good within
    this context, whose end stores what is still under way. Unless it `trims` the logs of events,
    another process does. Raises CannotStart."""
    streams = streams or Streams()
    file = database_file(settings)
    tokens_for = _token_source(settings, file)
    if file is not None:
        forget_key_of_missing(file)
    async with AsyncExitStack() as resources:
        resources.enter_context(summarise_outages())
        with as_cannot_start():
            store = await SqlAlchemyStore.open(settings.database_url)
        resources.push_async_callback(store.close)
        tokens = tokens_for(store)
        hasher: PasswordHasher = await resources.enter_async_context(Argon2Hasher())
        doorbell = await resources.enter_async_context(open_doorbell(settings, store))
        requests = None
        if settings.metrics is not None:
            # Imported here: its library takes a thirtieth of a start.
            from chatcore_server.observe.counting import CountedDoorbell, CountedHasher, Requests
            from chatcore_server.observe.metrics import Figures, serve_metrics

            requests, hasher, doorbell = (
                Requests(),
                CountedHasher(hasher),
                CountedDoorbell(doorbell),
            )
            figures = Figures(requests, streams, store, doorbell, hasher)
            await resources.enter_async_context(serve_metrics(settings.metrics, figures))
        messenger = Messenger(store, doorbell=doorbell)
        if trims:
            age = timedelta(days=settings.keep_events_days)
            await resources.enter_async_context(trimming(messenger, settings.keep_events, age))
        accounts = Accounts(
            store, hasher, tokens, refuse_common_passwords=settings.refuse_common_passwords
        )
        app = create_app(
            accounts,
            messenger,
            streams=streams,
            trusted_proxies=settings.trusted_proxies,
            page=settings.page,
            cors_origins=settings.cors_origins,
            ready=readiness(store, streams, store.check_writes),
        )
        await resources.enter_async_context(app.lifespan())
        # For servers that stop the application before they wait for its streams.
        resources.callback(streams.end_all)
        logged = log_requests(app, every=settings.access_log)
        yield logged if requests is None else requests.counted(logged)


def _token_source(settings: Settings, file: Path | None) -> Callable[[SqlAlchemyStore], JwtTokens]:
    """Judges the secret now, before any data is touched; a key is for an open store."""
    if settings.secret is not None:
        tokens = tokens_of(settings.secret)
        return lambda _: tokens
    if file is None:
        raise CannotStart("CHATCORE_SECRET is missing; only beside a SQLite file a key is made")
    return lambda store: JwtTokens(key_of(file, new=store.created))


def create() -> ASGIApp:
    """The service for any ASGI server with lifespan support, set up by the environment:
    `granian --interface asgi --factory chatcore_server.app:create`.

    One process only: the database file admits no second one. Limits on request heads, slow
    peers and connections are that server's own. Raises CannotStart.
    """
    settings = Settings.read(os.environ, {})
    configure_logging(settings.log)
    return _Lifespan(settings)


class _Lifespan:
    """Opens the application when its server starts it, and closes it when it stops."""

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
