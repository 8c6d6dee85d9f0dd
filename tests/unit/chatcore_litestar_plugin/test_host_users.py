"""Users of the host, who log in to the host, chat without accounts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
from litestar import Request, get
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.types import ASGIApp, Receive, Scope, Send

from chatcore import Messenger, RequestHead, User
from chatcore_litestar import RequestUser
from chatcore_litestar_plugin import ChatPlugin
from chatcore_memory import MemoryStore
from tests.support.api import Api
from tests.support.litestar_host import chat, running

Connection = ASGIConnection[Any, Any, Any, Any]
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


class Customer(NamedTuple):
    """A row of the host's own table."""

    id: int
    name: str


CUSTOMERS = {17: Customer(17, "Ann"), 42: Customer(42, "Ann")}


def log_in(app: ASGIApp) -> ASGIApp:
    """The host's own middleware: a cookie with the id of the customer."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        cookies = RequestHead(scope).cookies
        scope["user"] = CUSTOMERS.get(int(cookies.get("customer", 0)))
        await app(scope, receive, send)

    return middleware


def of_request(messenger: Messenger, *, ambient: bool = True) -> RequestUser:
    def person(customer: Customer) -> tuple[str, str]:
        return str(customer.id), customer.name

    return RequestUser(messenger, person, ambient=ambient)


@get("/me")
async def me(
    request: Request[Customer, Any, Any], chat_user: NamedDependency[User]
) -> dict[str, Any]:
    # `request.user` is the host's in the host's own routes.
    return {"id": request.user.id, "handle": chat_user.handle, "realm": chat_user.realm}


@asynccontextmanager
async def shop(**options: Any) -> AsyncIterator[tuple[Api, ChatPlugin]]:
    options = {"authenticator": of_request, "realm": "shop"} | options
    plugin = chat(accounts=None, **options)
    async with running(me, plugins=[plugin], middleware=[log_in]) as api:
        yield api, plugin


def by(customer: int, **headers: str) -> dict[str, str]:
    return {"cookie": f"customer={customer}"} | SAME_ORIGIN | headers


async def test_users_of_the_host_chat_by_their_own_ids() -> None:
    async with shop() as (api, _):
        for customer in (42, 17):
            found = (await api.call("GET", "/me", headers=by(customer))).json()
            assert found == {"id": customer, "handle": str(customer), "realm": "shop"}
        opened = await api.call("PUT", "/support/v1/users/42/chat", headers=by(17))
        assert (opened.status_code, opened.json()["user"], opened.json()["handle"]) == (
            *(201, "Ann"),
            "42",
        )
        sent = await api.call(
            "POST", "/support/chats/17/messages", headers=by(42), json={"message": "hello"}
        )
        assert (sent.status_code, sent.json()) == (201, {"sender": "42", "message": "hello"})


async def test_guards_of_the_host_see_the_user_of_the_chat_in_its_routes() -> None:
    seen = list[type]()

    def guard(connection: Connection, _: object) -> None:
        seen.append(type(connection.user))

    plugin = chat(accounts=None, authenticator=of_request, realm="shop")
    async with running(me, plugins=[plugin], middleware=[log_in], guards=[guard]) as api:
        for path in ("/me", "/support/v1/me"):
            assert (await api.call("GET", path, headers=by(17))).status_code == 200
    assert seen == [Customer, User]


async def test_a_customer_who_has_not_logged_in_gets_401() -> None:
    async with shop() as (api, _):
        for path in ("/support/v1/sync", "/support/chats", "/me"):
            assert (await api.call("GET", path)).status_code == 401


async def test_there_are_no_routes_and_no_objects_of_accounts() -> None:
    async with shop() as (api, plugin):
        for path in ("/support/register", "/support/login"):
            assert (await api.call("POST", path)).status_code == 404
        with pytest.raises(RuntimeError, match="no accounts"):
            _ = plugin.accounts


@pytest.mark.parametrize("origins", [(), ("https://shop.example",)])
async def test_pages_of_other_origins_cannot_write(origins: tuple[str, ...]) -> None:
    async with shop(origins=origins) as (api, _):
        await api.call("GET", "/me", headers=by(42))
        foreign = by(17) | {"sec-fetch-site": "cross-site", "origin": "https://shop.example"}
        answer = await api.call("PUT", "/support/v1/users/42/chat", headers=foreign)
        assert answer.status_code == (201 if origins else 403)


async def test_a_credential_that_browsers_do_not_send_needs_no_origin() -> None:
    async with shop(authenticator=partial(of_request, ambient=False)) as (api, _):
        await api.call("GET", "/me", headers=by(42))
        answer = await api.call(
            "PUT", "/support/v1/users/42/chat", headers={"cookie": "customer=17"}
        )
        assert answer.status_code == 201
        assert (await api.call("GET", "/support/chats")).headers["www-authenticate"] == "Bearer"


async def test_the_authenticator_may_be_an_object() -> None:
    messenger = Messenger(MemoryStore(), realm="shop")
    ready: dict[str, Any] = {"authenticator": of_request(messenger), "realm": ""}
    async with shop(store=None, messenger=messenger, **ready) as (api, plugin):
        found = (await api.call("GET", "/me", headers=by(42))).json()
        assert (found["handle"], plugin.messenger) == ("42", messenger)


async def test_the_document_names_no_scheme_of_ours() -> None:
    async with shop() as (api, _):
        document = (await api.call("GET", "/schema/openapi.json")).json()
    assert "securitySchemes" not in document["components"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert "security" not in operation
            if path.startswith("/support") and method != "get":
                assert operation["responses"].keys() >= {"403", "415"}


async def test_each_start_has_a_store_messenger_and_authenticator_of_its_own() -> None:
    made: list[Messenger] = []

    def authenticator(messenger: Messenger) -> RequestUser:
        made.append(messenger)
        return of_request(messenger)

    plugin = chat(accounts=None, store=MemoryStore, authenticator=authenticator, realm="shop")
    for _ in range(2):
        async with running(me, plugins=[plugin], middleware=[log_in]) as api:
            assert (await api.call("GET", "/me", headers=by(42))).status_code == 200
            assert plugin.messenger is made[-1]
            assert (await plugin.messenger.find_user("42")).id == 1
    assert len(set(map(id, made))) == 2
