"""Litestar applications of a host, with the plugin."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar

from chatcore import Accounts
from chatcore_litestar_plugin import ChatConfig, ChatPlugin
from chatcore_litestar_plugin.config import Store
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore
from tests.support.api import Api, api_of


def accounts_on(store: Store) -> Accounts:
    return Accounts(store, InsecureTestHasher(), InsecureTestTokens())


def chat(**options: Any) -> ChatPlugin:
    """A chat in memory."""
    where: dict[str, Any] = {"store": MemoryStore(), "accounts": accounts_on, "path": "/support"}
    return ChatPlugin(ChatConfig(**(where | options)))


def host(*handlers: Any, plugins: list[ChatPlugin], **options: Any) -> Litestar:
    # The logging configuration would leak into all later tests.
    return Litestar(handlers, plugins=plugins, logging_config=None, **options)


@asynccontextmanager
async def running(
    *handlers: Any, plugins: list[ChatPlugin] | None = None, **options: Any
) -> AsyncIterator[Api]:
    """The application, from its start to its end."""
    app = host(*handlers, plugins=plugins or [chat()], **options)
    async with app.lifespan(), api_of(app) as api:
        yield api
