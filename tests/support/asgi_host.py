"""Hosts of a ChatApp in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from chatcore import Messenger, RequestHead, Session
from chatcore_asgi import ChatApp, ChatConfig
from chatcore_memory import MemoryStore


class ByHeader:
    """Believes a header, which browsers do not send by themselves."""

    ambient = False

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger

    def credential(self, request: RequestHead) -> Any:
        return dict(request.headers).get(b"x-user")

    async def session(self, credential: Any) -> Session:
        handle = credential.decode()
        return Session(await self._messenger.user(handle, name=f"User {handle}"))


def chat_of(authenticator: Any = ByHeader, **options: Any) -> ChatApp:
    """A chat in memory."""
    where: dict[str, Any] = {"store": MemoryStore(), "realm": "shop"}
    return ChatApp(ChatConfig(**(where | {"authenticator": authenticator} | options)))


@asynccontextmanager
async def client_of(
    app: Any, root_path: str = "", **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, root_path=root_path)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://in.process", **options
    ) as client:
        yield client


@asynccontextmanager
async def lifespan_of(app: Any) -> AsyncIterator[Any]:
    """Start and stop the application by lifespan messages, as a server does."""
    to_app: asyncio.Queue[str] = asyncio.Queue()
    from_app: asyncio.Queue[str] = asyncio.Queue()

    async def receive() -> Any:
        return {"type": await to_app.get()}

    async def send(message: Any) -> None:
        from_app.put_nowait(message["type"])

    running = asyncio.create_task(app({"type": "lifespan"}, receive, send))
    async with asyncio.timeout(60):
        to_app.put_nowait("lifespan.startup")
        assert await from_app.get() == "lifespan.startup.complete"
    try:
        yield app
    finally:
        to_app.put_nowait("lifespan.shutdown")
        async with asyncio.timeout(60):
            assert await from_app.get() == "lifespan.shutdown.complete"
            await running
