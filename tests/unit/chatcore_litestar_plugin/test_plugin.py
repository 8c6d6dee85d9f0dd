"""A chat in a host's Litestar application: what the plugin adds, and what it leaves alone."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from litestar import Litestar, Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.exceptions import ImproperlyConfiguredException

from chatcore import (
    Accounts,
    InvalidToken,
    Messenger,
    RequestHead,
    Session,
    StoreUnavailable,
    User,
    trimming,
)
from chatcore.testing import VirtualClock
from chatcore_jwt import JwtTokens
from chatcore_litestar import Streams
from chatcore_litestar_plugin import ChatConfig, ChatPlugin
from chatcore_litestar_plugin.config import Store
from chatcore_memory import InsecureTestHasher, MemoryStore
from tests.support.api import Someone, Under, api_of
from tests.support.litestar_host import accounts_on, chat, host, running


@get("/shop/chats")
async def count_chats(
    messenger: NamedDependency[Messenger], chat_user: NamedDependency[User]
) -> dict[str, Any]:
    return {"user": chat_user.name, "chats": len(await messenger.list_chats(chat_user))}


async def test_routes_answer_under_the_path() -> None:
    async with running() as api:
        support = Under(api, "/support")
        ann, bob = await support.chat()
        assert (await support.send(ann, bob.name, "hello")).status_code == 201
        snapshot = (await support.call("GET", "/v1/sync", bob)).json()
        assert snapshot["chats"][0]["last_message"]["text"] == "hello"
        assert (await api.call("GET", "/v1/sync", bob)).status_code == 404


async def test_handlers_of_the_host_get_the_messenger_and_the_user() -> None:
    async with running(count_chats) as api:
        ann, _ = await Under(api, "/support").chat()
        assert (await api.call("GET", "/shop/chats", ann)).json() == {"user": ann.name, "chats": 1}


async def test_a_request_without_a_user_gets_a_401_of_the_host() -> None:
    def unauthorised(_: Request[Any, Any, Any], __: Exception) -> Response[str]:
        return Response("log in first", status_code=401)

    async with running(count_chats, exception_handlers={401: unauthorised}) as api:
        for by in (None, Someone("ann", "no.valid.token")):
            answer = await api.call("GET", "/shop/chats", by)
            assert (answer.status_code, answer.text) == (401, "log in first")


async def test_a_store_that_is_away_gives_the_host_a_503() -> None:
    class Faltering(MemoryStore):
        away = False

        async def credentials_by_id(self, user_id: int) -> Any:
            if self.away:
                raise StoreUnavailable("the disk is away")
            return await super().credentials_by_id(user_id)

    store = Faltering()
    async with running(count_chats, plugins=[chat(store=store)]) as api:
        ann = await Under(api, "/support").join("ann")
        store.away = True
        answer = await api.call("GET", "/shop/chats", ann)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_the_plugin_gives_its_parts_while_the_application_runs() -> None:
    plugin = chat()
    app = host(plugins=[plugin])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="while the application runs"):
            _ = plugin.messenger
        async with app.lifespan():
            ann = await plugin.accounts.register(f"ann {_}", "correct horse battery")
            assert await plugin.messenger.list_chats(ann) == []
            assert not plugin.streams.closed
            streams = plugin.streams
        assert streams.closed
    assert app.plugins.get(ChatPlugin) is plugin


async def test_start_hooks_have_the_chat_and_stop_hooks_do_not() -> None:
    plugin, seen = chat(), list[object]()

    def at_start() -> None:
        seen.append(plugin.messenger)

    def at_stop() -> None:
        with pytest.raises(RuntimeError):
            seen.append(plugin.messenger)

    app = host(plugins=[plugin], on_startup=[at_start], on_shutdown=[at_stop])
    async with app.lifespan():
        assert seen == [plugin.messenger]
    assert len(seen) == 1


async def test_one_plugin_does_not_serve_two_running_applications() -> None:
    plugin = chat()
    async with host(plugins=[plugin]).lifespan():
        with pytest.raises(RuntimeError, match="its own ChatPlugin"):
            async with plugin.lifespan():
                pass
        assert not plugin.streams.closed


async def test_an_application_that_has_not_started_answers_503(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = host(count_chats, plugins=[chat()])
    async with api_of(app) as api:
        ann = Someone("ann", "a.token.here")
        for path in ("/support/chats", "/support/v1/sync", "/shop/chats"):
            assert (await api.call("GET", path, ann)).status_code == 503
    assert "lifespan has not begun" in caplog.text


async def test_two_chats_in_one_application_are_independent() -> None:
    @get("/counts")
    async def counts(
        messenger: NamedDependency[Messenger],
        chat_user: NamedDependency[User],
        team: NamedDependency[Messenger],
    ) -> list[int]:
        member = await team.find_user(chat_user.name)
        return [len(await messenger.list_chats(chat_user)), len(await team.list_chats(member))]

    second = chat(
        path="/team/chat",
        messenger_dependency_key="team",
        user_dependency_key="team_user",
        security_scheme_name="team",
        tag="team",
    )
    async with running(counts, plugins=[chat(), second]) as api:
        one, two = Under(api, "/support"), Under(api, "/team/chat")
        ann, _ = await one.chat()
        assert (await two.log_in(ann.name)).status_code == 401
        assert (await two.register(ann.name)).status_code == 201
        assert (await api.call("GET", "/counts", ann)).json() == [1, 0]
        document = (await api.call("GET", "/schema/openapi.json")).json()
    assert document["components"]["securitySchemes"].keys() == {"chat", "team"}
    assert document["paths"]["/support/chats"]["get"]["tags"] == ["chat"]
    assert document["paths"]["/team/chat/chats"]["get"]["security"] == [{"team": []}]


@pytest.mark.parametrize(
    ("second", "what"),
    [
        ({}, "messenger_dependency_key"),
        ({"messenger_dependency_key": "team"}, "user_dependency_key"),
    ],
)
async def test_a_second_chat_must_not_take_the_dependencies_of_the_first(
    second: dict[str, str], what: str
) -> None:
    with pytest.raises(ImproperlyConfiguredException, match=what):
        host(plugins=[chat(), chat(path="/team", **second)])


async def test_a_dependency_of_the_host_is_not_replaced() -> None:
    with pytest.raises(ImproperlyConfiguredException, match="'messenger'"):
        host(plugins=[chat()], dependencies={"messenger": Provide(lambda: 1, sync_to_thread=False)})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"database_url": "sqlite:///chat.db", "store": MemoryStore()},
        {"store": MemoryStore()},
        {"messenger": Messenger(MemoryStore()), "accounts": accounts_on},
        {"store": MemoryStore(), "accounts": accounts_on, "messenger": Messenger, "realm": "shop"},
        {"store": MemoryStore(), "accounts": accounts_on, "pooler": "transaction"},
        {"database_url": "postgresql://a/b", "accounts": accounts_on, "pooler": "transaction"},
        {"store": MemoryStore(), "accounts": accounts_on, "page": True, "fixed_routes": False},
    ],
    ids=lambda fields: " ".join(fields) or "nothing",
)
async def test_fields_that_exclude_each_other_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfiguredException, match="ChatConfig"):
        ChatConfig(**fields)


class _Login:
    ambient = True

    def credential(self, request: RequestHead) -> str | None:
        return request.cookies.get("sid")

    async def session(self, credential: Any) -> Session:
        raise InvalidToken


class _AsyncLogin(_Login):
    async def credential(self, request: RequestHead) -> str | None:  # type: ignore[override]
        return request.cookies.get("sid")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", "chat"),
        ("origins", "https://shop.example"),
        ("trusted_proxies", "10.0.0.1"),
        ("streams", Streams()),
        ("authenticator", object()),
        ("authenticator", _Login),
        ("authenticator", _AsyncLogin()),
        ("keep_age", 30),
        ("keep_age", timedelta(0)),
        ("keep_events", 0),
    ],
)
async def test_value_that_cannot_serve_is_refused_by_name(field: str, value: object) -> None:
    fields: dict[str, Any] = {"store": MemoryStore(), field: value}
    if field != "authenticator":
        fields["accounts"] = accounts_on
    with pytest.raises(ImproperlyConfiguredException, match=f"ChatConfig: .*{field}"):
        ChatConfig(**fields)


async def test_a_messenger_of_the_host_is_used_and_left_open() -> None:
    store = MemoryStore()
    messenger = Messenger(store)
    plugin = ChatPlugin(
        ChatConfig(path="/support", messenger=messenger, accounts=accounts_on(store))
    )
    async with running(plugins=[plugin]) as api:
        assert plugin.messenger is messenger
        ann, bob = await Under(api, "/support").chat()
    user = await messenger.find_user(ann.name)
    [summary] = await messenger.list_chats(user)
    assert summary.chat.peer_of(user).name == bob.name


async def test_functions_are_called_once_the_host_has_started() -> None:
    opened: list[MemoryStore] = []

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        opened.append(MemoryStore())
        yield

    class Shop(Messenger):
        pass

    plugin = chat(store=lambda: opened[-1], messenger=Shop)
    app = host(plugins=[plugin], lifespan=[lifespan])
    for _ in range(2):
        async with app.lifespan(), api_of(app) as api:
            assert type(plugin.messenger) is Shop
            # A new store, and no token or chat of the one before.
            assert (await Under(api, "/support").register("ann")).status_code == 201
    assert len(opened) == 2


async def test_messages_and_sessions_follow_the_clock() -> None:
    clock = VirtualClock()

    def accounts(store: Store) -> Accounts:
        return Accounts(store, InsecureTestHasher(), JwtTokens(b"x" * 32), clock=clock)

    async with running(plugins=[chat(clock=clock, accounts=accounts)]) as api:
        support = Under(api, "/support")
        ann, bob = await support.chat()
        await support.send(ann, bob.name, "hello")
        state = (await support.call("GET", "/v1/chats", ann)).json()["chats"][0]
        assert state["last_message"]["sent_at"] == f"{clock():%Y-%m-%dT%H:%M:%S.%fZ}"
        clock.advance(timedelta(hours=13))
        assert (await support.call("GET", "/v1/chats", ann)).status_code == 401


async def test_fixed_routes_and_page_are_switches() -> None:
    async with running(plugins=[chat(fixed_routes=False)]) as api:
        for method, path in [("POST", "/register"), ("POST", "/login"), ("GET", "/chats")]:
            assert (await api.call(method, f"/support{path}")).status_code == 404
        assert (await api.call("GET", "/support/v1/sync")).status_code == 401
        assert (await api.call("GET", "/support/")).status_code == 404
    async with running(plugins=[chat(page=True)]) as api:
        page = await api.call("GET", "/support/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        script = page.text.partition('src="')[2].partition('"')[0]
        assert (await api.call("GET", f"/support/{script}")).status_code == 200


async def test_the_page_without_its_last_slash_redirects_to_itself() -> None:
    async with running(plugins=[chat(page=True)]) as api:
        answer = await api.call("GET", "/support?x=1")
        assert (answer.status_code, answer.headers["location"]) == (308, "./support/?x=1")
        found = answer.url.join(answer.headers["location"])
        assert found.raw_path == b"/support/?x=1"


@pytest.mark.parametrize("root", ["/proxied", "/pröxied"])
async def test_locations_hold_behind_a_proxy_with_a_prefix(root: str) -> None:
    app = host(plugins=[chat()])

    async def under_root(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"root_path": root, "path": root + scope["path"]}, receive, send)

    async with app.lifespan(), api_of(under_root) as api:
        support = Under(api, "/support")
        ann, bob = await support.join("ann"), await support.join("bob")
        answer = await support.ensure_chat(ann, bob.name)
        place = f"{quote(root)}/support/v1/chats/{answer.json()['chat_id']}"
        assert (answer.status_code, answer.headers["location"]) == (201, place)


async def test_the_host_keeps_its_exception_handlers_and_404() -> None:
    @get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    def page(_: Request[Any, Any, Any], error: Exception) -> Response[str]:
        return Response(f"<h1>{type(error).__name__}</h1>", media_type="text/html", status_code=418)

    async with running(broken, exception_handlers={Exception: page}) as api:
        for path, name in [
            ("/nowhere", "NotFoundException"),
            ("/support/v1/nowhere", "NotFoundException"),
            ("/broken", "ZeroDivisionError"),
        ]:
            assert (await api.call("GET", path)).text == f"<h1>{name}</h1>"
        answer = await api.call("GET", "/support/chats")
        assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
        answer = await api.call("GET", "/support/v1/sync")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_the_host_keeps_its_logging() -> None:
    def state() -> Any:
        loggers = [logging.root, *(logging.getLogger(name) for name in ("litestar", "chatcore"))]
        return [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]

    before = state()
    async with running() as api:
        await Under(api, "/support").chat()
    assert state() == before


async def test_event_logs_are_trimmed_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trimmed(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.keeps = asyncio.Queue[int]()

        async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
            self.keeps.put_nowait(keep)
            return await super().trim_logs(keep=keep, since_us=since_us, after_user=after_user)

    monkeypatch.setattr(trimming, "FIRST_SECONDS", 0)
    store = Trimmed()
    async with running(plugins=[chat(store=store, keep_events=7, keep_age=timedelta(days=1))]):
        async with asyncio.timeout(60):
            assert await store.keeps.get() == 7


async def test_trimming_is_a_switch() -> None:
    async def trimming_tasks(trim_logs: bool) -> int:
        async with running(plugins=[chat(trim_logs=trim_logs)]):
            return sum("trim" in repr(task.get_coro()) for task in asyncio.all_tasks())

    assert [await trimming_tasks(each) for each in (True, False)] == [1, 0]
