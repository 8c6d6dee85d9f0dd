"""The plugin."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from litestar.config.app import AppConfig
from litestar.exceptions import ImproperlyConfiguredException
from litestar.plugins import CLIPlugin, InitPlugin

from chatcore import Accounts, Messenger
from chatcore.model import elapsed
from chatcore_litestar import Streams
from chatcore_litestar.app import router_on
from chatcore_litestar.client import address_behind
from chatcore_litestar.context import CLOSED, Context
from chatcore_litestar_plugin.config import ChatConfig
from chatcore_litestar_plugin.dependencies import providers
from chatcore_litestar_plugin.openapi import join, security_of
from chatcore_litestar_plugin.opening import opened

if TYPE_CHECKING:
    from click import Group


class ChatPlugin(InitPlugin, CLIPlugin):
    """Adds a chat to a Litestar application: `Litestar(…, plugins=[ChatPlugin(ChatConfig(…))])`.

    Its routes are those of `chat_router`, at the path of the configuration; the host's own routes,
    logging and exception handlers are untouched. While the application runs, handlers of the host
    get the Messenger and the User of the chat as dependencies. `litestar chat` has commands for the
    database.

    An application may have several of these plugins, with a path, a database and dependency keys
    of their own. Raises ImproperlyConfiguredException where two collide.
    """

    def __init__(self, config: ChatConfig) -> None:
        self.config = config
        self._context = Context(
            has_accounts=config.accounts is not None,
            clock=config.clock,
            seconds=elapsed,
            address_of=address_behind(config.trusted_proxies),
            origins=tuple(config.origins),
            body_seconds=config.body_seconds,
            send_seconds=config.send_seconds,
        )

    @property
    def messenger(self) -> Messenger:
        """The Messenger, while the application runs. Raises RuntimeError before and after."""
        return self._opened.messenger

    @property
    def accounts(self) -> Accounts:
        """The Accounts, while the application runs. Raises RuntimeError before and after, and if
        the users are the host's own."""
        if not self._context.has_accounts:
            raise RuntimeError("this chat has no accounts: its users are the host's own")
        return self._opened.accounts

    @property
    def streams(self) -> Streams:
        """The open streams, while the application runs. A server that stops without a signal calls
        `streams.end_all()`. Raises RuntimeError before and after."""
        return self._opened.streams

    @property
    def _opened(self) -> Context:
        if self._context.messenger is CLOSED:
            raise RuntimeError(
                "the chat is open only while the application runs; "
                "a host that mounts it must enter its lifespan"
            )
        return self._context

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        config = self.config
        for key, provider in providers(config, self._context).items():
            if key in app_config.dependencies:
                raise ImproperlyConfiguredException(
                    f"the application has another dependency {key!r}; give ChatConfig a "
                    "messenger_dependency_key and a user_dependency_key"
                )
            app_config.dependencies[key] = provider
        join(app_config, config)
        app_config.route_handlers.append(
            router_on(
                self._context,
                config.path,
                # With an authenticator of the host's, that is known only once it is made.
                ambient=config.accounts is None,
                fixed_routes=config.fixed_routes,
                page=config.page,
                tags=[config.tag],
                security=security_of(config),
            )
        )
        app_config.lifespan.append(self.lifespan)
        return app_config

    def on_cli_init(self, cli: "Group") -> None:
        # Imported on demand: only the command line needs it.
        from chatcore_litestar_plugin.commands import add_commands

        add_commands(cli, self.config)

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Answer requests within this context, which Litestar enters when the application starts.
        It may be entered again after its end. Raises CannotOpen for a database that cannot be
        opened, with one line that says why, and RuntimeError for a plugin that is open already."""
        if self._context.messenger is not CLOSED:
            raise RuntimeError("the chat is open already: give each application its own ChatPlugin")
        async with opened(self.config, self._context):
            yield
