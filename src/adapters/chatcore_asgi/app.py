"""The application to mount."""

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, cast

from litestar import Litestar

from chatcore import Accounts, Messenger
from chatcore_litestar import Streams
from chatcore_litestar.openapi import openapi_config
from chatcore_litestar.replies import SAFETY_BY_NAME
from chatcore_litestar.v1.problems import HANDLERS_BY_PATH
from chatcore_litestar_plugin import ChatConfig, ChatPlugin

# As most frameworks type them.
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class ChatApp:
    """A chat as an ASGI application, to mount in the application of a host.

    It serves requests within its `lifespan`, which opens the database. Frameworks run no lifespan
    of a mounted application, so the host enters this one in its own: `FastAPI(lifespan=
    chat.lifespan)`, then `app.mount(chat.path, chat)`. A framework without a lifespan, such as
    Django, is wrapped: `application = chat.beside(get_asgi_application())`.

    Errors, also those of paths that do not exist, are answered here: the host's exception handlers
    see none. The OpenAPI document is at `/schema/openapi.json` below the path.
    """

    def __init__(self, config: ChatConfig) -> None:
        self.path = config.path.rstrip("/")
        """Where `beside` serves the chat, and where the host mounts it."""
        # The host has taken the path off already.
        self._plugin = ChatPlugin(replace(config, path="/"))
        self._litestar = Litestar(
            plugins=[self._plugin],
            exception_handlers=HANDLERS_BY_PATH,
            # For Litestar's own answers; ours already have these headers.
            response_headers=SAFETY_BY_NAME,
            # Litestar's logging would reconfigure the host's loggers.
            logging_config=None,
            openapi_config=openapi_config(),
        )

    @property
    def messenger(self) -> Messenger:
        """The Messenger. Raises RuntimeError outside the lifespan."""
        return self._plugin.messenger

    @property
    def accounts(self) -> Accounts:
        """The Accounts. Raises RuntimeError outside the lifespan, and if the users are the host's
        own."""
        return self._plugin.accounts

    @property
    def streams(self) -> Streams:
        """The open streams. A server that stops without a signal calls `streams.end_all()`. Raises
        RuntimeError outside the lifespan."""
        return self._plugin.streams

    def lifespan(self, _host: object = None) -> AbstractAsyncContextManager[None]:
        """Serve requests within this context. It may be entered again after its end.

        Raises CannotOpen for a database that cannot be opened, with one line that says why. A
        framework may pass its application.
        """
        # Not Litestar's own: it has a task group, which wraps errors of the host in groups.
        return self._plugin.lifespan()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        else:
            # A copy: Litestar writes to it, and middleware of the host reads its own afterwards.
            await cast(ASGIApp, self._litestar)({**scope}, receive, send)

    def beside(self, host: ASGIApp) -> ASGIApp:
        """Return an application that serves the chat under `path`, and everything else by `host`.

        It runs the lifespan of the chat; `host` must need none.
        """

        async def both(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await self(scope, receive, send)
            elif self._is_below(scope):
                mounted = scope.get("root_path", "") + self.path
                await self({**scope, "root_path": mounted}, receive, send)
            else:
                await host(scope, receive, send)

        return both

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        phase = "startup"
        try:
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except Exception as error:
            # An exception alone would tell the server to go on without a lifespan.
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    def _is_below(self, scope: Scope) -> bool:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        return path == self.path or path.startswith(f"{self.path}/")
