"""The login of a host: an Authenticator by its session cookie."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from litestar import Litestar

from chatcore import Chat, InvalidToken, Messenger, RequestHead, Session, User
from chatcore.testing import VirtualClock
from chatcore_litestar import Streams, create_app
from chatcore_memory import MemoryStore
from tests.support.api import Api
from tests.support.listening import Request

ORIGIN = "https://shop.example"
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


@dataclass
class CookieLogin:
    """Knows sessions by the cookie `sid`: each a handle and a name."""

    messenger: Messenger
    ambient: bool = True
    people: dict[str, tuple[str, str]] = field(default_factory=dict)
    expires_at: datetime | None = None
    failure: Exception | None = None
    asked: int = 0

    def credential(self, request: RequestHead) -> str | None:
        return request.cookies.get("sid")

    async def session(self, credential: Any) -> Session:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        if (person := self.people.get(credential)) is None:
            raise InvalidToken
        handle, name = person
        return Session(await self.messenger.user(handle, name=name), self.expires_at)


@dataclass
class Shop:
    """A host with Ann (handle 1, session `a`) and Bob (handle 2, session `b`) and their chat."""

    app: Litestar
    client: httpx.AsyncClient
    login: CookieLogin
    messenger: Messenger
    streams: Streams
    clock: VirtualClock
    ann: User
    bob: User
    chat: Chat

    async def call(self, method: str, path: str, sid: str = "a", **options: Any) -> httpx.Response:
        headers = {"cookie": f"sid={sid}"} | SAME_ORIGIN | options.pop("headers", {})
        return await Api(self.client).call(method, path, headers=headers, **options)

    def stream(self, sid: str = "a", path: str = "/v1/events", **headers: str) -> Request:
        headers = {"accept": "text/event-stream", "cookie": f"sid={sid}"} | headers
        return Request(self.app, None, path, **headers)


@asynccontextmanager
async def shop(
    store: Any = None, *, ambient: bool = True, heartbeat_seconds: float = 0.05, **options: Any
) -> AsyncIterator[Shop]:
    clock, streams = VirtualClock(), Streams(heartbeat_seconds=heartbeat_seconds)
    messenger = Messenger(store or MemoryStore(), realm="shop", clock=clock)
    login = CookieLogin(messenger, ambient, {"a": ("1", "Ann"), "b": ("2", "Bob")})
    ann, bob = await messenger.user("1", name="Ann"), await messenger.user("2", name="Bob")
    chat, _ = await messenger.ensure_chat(ann, bob)
    app = create_app(
        messenger,
        authenticator=login,
        clock=clock,
        seconds=clock.seconds,
        streams=streams,
        **options,
    )
    application: Any = app
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://in.process") as client:
        yield Shop(app, client, login, messenger, streams, clock, ann, bob, chat)
