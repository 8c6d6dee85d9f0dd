"""A Litestar host with a login of its own: its `request.user` chats."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from litestar import Litestar, Request, get
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from chatcore import Messenger
from chatcore.testing import VirtualClock
from chatcore_litestar import RequestUser, Streams, chat_router
from chatcore_memory import MemoryStore
from tests.support.api import Api, api_of
from tests.support.listening import Frame
from tests.support.listening import Request as InFlight
from tests.support.logins import SAME_ORIGIN


@dataclass
class Customer:
    id: int
    full_name: str


@dataclass
class Shop:
    """A host that knows its customers by the header X-Customer."""

    app: Litestar
    api: Api
    messenger: Messenger
    clock: VirtualClock
    customers: dict[str, Customer] = field(default_factory=dict)

    async def get(self, path: str, by: str) -> Any:
        return await self.api.call("GET", path, headers={"x-customer": by} | SAME_ORIGIN)


@asynccontextmanager
async def shop(**options: Any) -> AsyncIterator[Shop]:
    customers = {"1": Customer(17, "Ann"), "2": Customer(42, "Ann")}

    class Login(AbstractAuthenticationMiddleware):
        async def authenticate_request(
            self, connection: ASGIConnection[Any, Any, Any, Any]
        ) -> AuthenticationResult:
            by = connection.headers.get("x-customer", "")
            if by == "intruder":
                raise NotAuthorizedException
            return AuthenticationResult(customers.get(by), auth="the host's")

    @get("/whoami")
    async def whoami(request: Request[Customer, str, Any]) -> str:
        return f"{request.user.full_name} by {request.auth}"

    async def still_valid(handle: str) -> bool:
        return any(str(customer.id) == handle for customer in customers.values())

    clock = VirtualClock()
    messenger = Messenger(MemoryStore(), realm="shop", clock=clock)
    login = RequestUser(
        messenger,
        lambda customer: (str(customer.id), customer.full_name),
        still_valid=still_valid,
        **options,
    )
    chat = chat_router(
        messenger,
        authenticator=login,
        path="/chat",
        clock=clock,
        seconds=clock.seconds,
        streams=Streams(heartbeat_seconds=0.05),
    )
    app = Litestar([chat, whoami], middleware=[Login], logging_config=None)
    async with api_of(app) as api:
        yield Shop(app, api, messenger, clock, customers)


async def test_hosts_user_chats_under_its_own_id() -> None:
    async with shop() as host:
        for number, handle in (("1", "17"), ("2", "42")):
            me = await host.get("/chat/v1/me", number)
            assert me.json() == {"user": "Ann", "handle": handle}
        opened = await host.api.call(
            "PUT", "/chat/v1/users/42/chat", headers={"x-customer": "1"} | SAME_ORIGIN
        )
        assert (opened.status_code, opened.json()["handle"]) == (201, "42")
        assert (await host.get("/whoami", "1")).text == "Ann by the host's"


async def test_request_without_a_user_is_401() -> None:
    async with shop() as host:
        assert (await host.get("/chat/v1/me", "nobody")).json()["code"] == "unauthorized"
        assert (await host.get("/chat/chats", "nobody")).json() == {"error": "Unauthorized"}
        # Also where the host's middleware refuses.
        assert (await host.get("/chat/v1/me", "intruder")).json()["code"] == "unauthorized"


async def test_rename_in_the_host_shows_with_the_next_request() -> None:
    async with shop() as host:
        assert (await host.get("/chat/v1/me", "1")).json()["user"] == "Ann"
        host.customers["1"].full_name = "Anna"
        assert (await host.get("/chat/v1/me", "1")).json()["user"] == "Anna"


async def test_logged_out_user_is_refused_at_once_and_streams_end_within_a_minute() -> None:
    async with shop() as host:
        path = "/chat/v1/events"
        stream = InFlight(host.app, None, path, accept="text/event-stream", x_customer="1")
        async with stream:
            assert (await stream.frame()).data["type"] == "start"
            del host.customers["1"]
            assert (await host.get("/chat/v1/me", "1")).status_code == 401
            host.clock.advance(timedelta(seconds=60))
            assert await stream.event() == Frame({"type": "end", "reason": "void"})
            await stream.ended()


async def test_session_cookie_is_taken_for_ambient_unless_declared_otherwise() -> None:
    async with shop() as host, shop(ambient=False) as other:
        for number in "12":
            for room in (host, other):
                await room.get("/chat/v1/me", number)
        statuses = [
            (await room.api.call("POST", "/chat/chat/42", headers={"x-customer": "1"})).status_code
            for room in (host, other)
        ]
        assert statuses == [403, 201]
