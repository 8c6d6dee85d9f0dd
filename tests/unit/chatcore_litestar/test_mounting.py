"""The routes mounted in another Litestar application, whose behaviour stays unchanged."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest
from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import JSONBody
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from chatcore_litestar import chat_router
from chatcore_memory import MemoryStore
from tests.support.api import Api, Someone, Under, api_of, segment
from tests.support.apps import app_on, core

Asked = Request[Any, Any, Any]


@get("/")
async def home() -> str:
    return "home"


@post("/orders")
async def order(data: JSONBody[dict[str, int]]) -> dict[str, int]:
    return data


@get("/broken")
async def broken() -> None:
    raise ZeroDivisionError


def page(_request: Asked, error: Exception) -> Response[str]:
    return Response(f"<h1>{type(error).__name__}</h1>", media_type="text/html", status_code=418)


PATHS = ("/one", "/two/b")


@asynccontextmanager
async def mounted(*paths: str, **options: Any) -> AsyncIterator[Api]:
    """A chatcore in another application, or one under each of several paths."""
    async with AsyncExitStack() as stack:
        routers = [
            chat_router(*await stack.enter_async_context(core(MemoryStore())), path=path)
            for path in paths or PATHS[:1]
        ]
        app = Litestar(
            [home, order, broken, *routers],
            logging_config=None,  # The logging configuration would leak into all later tests.
            **options,
        )
        async with api_of(app) as api:
            yield api


async def test_the_routes_work_under_any_path() -> None:
    async with mounted(*PATHS) as api:
        for prefix in PATHS:
            under = Under(api, prefix)
            ann, bob = await under.chat()
            for text in ("one", "two"):
                assert (await under.send(ann, bob.name, text)).status_code == 201
            items = [{"sender": ann.name, "message": text} for text in ("one", "two")]
            assert (await under.read(bob, ann.name)).json() == items
            page = await under.read(bob, ann.name, "?limit=1")
            # Relative to the requested path, so it works under any mount path.
            assert page.headers["link"] == '<?limit=1&before=2>; rel="prev"'
            [chat] = (await under.call("GET", "/chats", bob)).json()
            assert chat["user"] == ann.name


async def test_v1_works_under_any_path() -> None:
    async with mounted(*PATHS) as api:
        for prefix in PATHS:
            under = Under(api, prefix)
            ann, bob = await under.chat()
            # Any name works, also one that occurs in the path.
            assert (await under.register("users")).status_code == 201
            answer = await under.ensure_chat(ann, "users")
            path = f"{prefix}/v1/chats/{answer.json()['chat_id']}"
            assert (answer.status_code, answer.headers["location"]) == (201, path)
            answer = await under.ensure_chat(ann, bob.name)
            location = f"{prefix}/v1/chats/{answer.json()['chat_id']}"
            assert (await api.call("GET", location, ann)).json() == answer.json()
            sent = await api.call("POST", f"{location}/messages", bob, json={"text": "hello"})
            assert sent.status_code == 201
            snapshot = (await under.call("GET", "/v1/sync", ann)).json()
            assert snapshot["chats"][0]["last_message"] == sent.json()


@pytest.mark.parametrize("root", ["", "/proxied", "/pröxied"])
async def test_location_header_works_behind_a_proxy(root: str) -> None:
    async with app_on(MemoryStore()) as app:

        async def under_root(scope: Any, receive: Any, send: Any) -> None:
            await app(scope | {"root_path": root, "path": root + scope["path"]}, receive, send)

        async with api_of(under_root) as api:
            ann, bob = await api.join("ann"), await api.join("users")
            answer = await api.ensure_chat(ann, bob.name)
            assert answer.status_code == 201
            path = f"{quote(root)}/v1/chats/{answer.json()['chat_id']}"
            assert answer.headers["location"] == path
            unknown = await api.call("GET", "/v1/nowhere", ann)
            assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


async def test_two_mounted_chatcores_are_independent() -> None:
    async with mounted(*PATHS) as api:
        one, two = Under(api, "/one"), Under(api, "/two/b")
        ann, bob = await one.chat()
        assert (await two.log_in(ann.name)).status_code == 401
        assert (await two.register(ann.name)).status_code == 201
        token = (await two.log_in(ann.name)).json()["token"]
        assert (await two.call("GET", "/chats", Someone(ann.name, token))).json() == []
        assert (await two.open_chat(Someone(ann.name, token), bob.name)).status_code == 400


async def test_mounted_app_uses_the_given_objects() -> None:
    store = MemoryStore()
    async with core(store) as (accounts, messenger):
        app = Litestar([chat_router(accounts, messenger, path="/chatcore")], logging_config=None)
        async with api_of(app) as api:
            ann, bob = await Under(api, "/chatcore").chat()
        user = await messenger.find_user(ann.name)
        assert [
            summary.chat.peer_of(user).name for summary in await messenger.list_chats(user)
        ] == [bob.name]


HOSTS: dict[str, dict[str, Any]] = {
    "no handlers": {},
    "handlers for exceptions": {"exception_handlers": {Exception: page, HTTPException: page}},
    "handlers for statuses": {
        "exception_handlers": dict.fromkeys((400, 401, 404, 405, 408, 413, 500, 503), page)
    },
    "debug": {"debug": True},
}


@pytest.fixture(scope="module", params=HOSTS)
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    async with mounted(**HOSTS[request.param]) as api:
        yield api


async def test_errors_inside_our_routes_keep_our_shape(host: Api) -> None:
    one = Under(host, "/one")
    ann, bob = await one.chat()
    send = f"/chats/{segment(bob.name)}/messages"
    read = f"/chats/messages/{segment(bob.name)}"
    for status, text, answer in [
        (400, "Username already exists or invalid data", await one.register(ann.name)),
        (400, "Username already exists or invalid data", await one.call("POST", "/register")),
        (401, "Invalid username or password", await one.log_in(ann.name, "wrong password")),
        (401, "Unauthorized", await one.call("GET", "/chats")),
        (400, "Chat already exists or invalid user", await one.open_chat(ann, bob.name)),
        (400, "Invalid message or chat not found", await one.call("POST", send, ann)),
        (400, "Invalid query", await one.call("GET", f"{read}?limit=x", ann)),
        (404, "Chat not found", await one.read(ann, "nobody")),
        (413, "Content Too Large", await one.call("POST", send, ann, content=b" " * 65_537)),
    ]:
        assert (answer.status_code, answer.json()) == (status, {"error": text})


async def test_errors_inside_v1_are_problems(host: Api) -> None:
    one = Under(host, "/one")
    ann, _, chat = await one.chat_by_id()
    for status, code, answer in [
        (401, "unauthorized", await one.call("GET", "/v1/sync")),
        (400, "invalid_page", await one.call("GET", "/v1/chats?limit=x", ann)),
        (404, "chat_not_found", await one.call("GET", "/v1/chats/99", ann)),
        (404, "user_not_found", await one.ensure_chat(ann, "nobody")),
        (422, "self_chat", await one.ensure_chat(ann, ann.name)),
        (400, "malformed_body", await one.call("POST", f"{chat}/messages", ann)),
        (
            413,
            "content_too_large",
            await one.call("POST", f"{chat}/messages", ann, content=b" " * 65_537),
        ),
    ]:
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_host_keeps_its_404_405_and_exception_handlers() -> None:
    detail = {"status_code": 404, "detail": "Not Found"}
    async with mounted() as api:
        for path in ("/nowhere", "/one/nowhere", "/one/v1/nowhere", "/two", "/healthz", "/v1/x"):
            answer = await api.call("GET", path)
            assert (answer.status_code, answer.json()) == (404, detail)
        for path in ("/orders", "/one/chats", "/one/v1/sync"):
            answer = await api.call("PUT", path)
            assert (answer.status_code, answer.json()["detail"]) == (405, "Method Not Allowed")
        assert (await api.call("POST", "/orders", content=b"{")).json()["status_code"] == 400
        assert (await api.call("GET", "/broken")).json()["detail"] == "Internal Server Error"
    async with mounted(exception_handlers={Exception: page}) as api:
        for path, name in [
            ("/nowhere", "NotFoundException"),
            ("/one/nowhere", "NotFoundException"),
            ("/one/login", "MethodNotAllowedException"),
            ("/broken", "ZeroDivisionError"),
        ]:
            assert (await api.call("GET", path)).text == f"<h1>{name}</h1>"


async def test_the_host_keeps_its_own_limits_and_routes() -> None:
    async with mounted() as api:
        assert (await api.call("GET", "/")).text == "home"
        large = {f"{n}": n for n in range(10_000)}
        assert (await api.call("POST", "/orders", json=large)).json() == large


async def test_headers_added_by_the_host_appear_once() -> None:
    def stamping(app: ASGIApp) -> ASGIApp:
        async def stamped(scope: Scope, receive: Receive, send: Send) -> None:
            async def stamp(message: Message) -> None:
                if message["type"] == "http.response.start":
                    list_of_headers: Any = message["headers"]
                    list_of_headers.append((b"x-stamp", b"1"))
                await send(message)

            await app(scope, receive, stamp)

        return stamped

    async with mounted(middleware=[stamping]) as api:
        for token in (None, Someone("ann", "no.valid.token")):
            for _ in range(3):
                answer = await api.call("GET", "/one/chats", token)
                assert answer.headers.get_list("x-stamp") == ["1"]


async def test_the_host_keeps_its_openapi_document() -> None:
    config = OpenAPIConfig("Shop", "7", render_plugins=[JsonRenderPlugin()], path="/docs")
    async with mounted(*PATHS, openapi_config=config) as api:
        document = (await api.call("GET", "/docs/openapi.json")).json()
        assert (await api.call("GET", "/schema/openapi.json")).status_code == 404
    assert document["info"] == {"title": "Shop", "version": "7"}
    assert {"/", "/orders", "/one/register", "/two/b/chats/messages/{user_name}"} <= set(
        document["paths"]
    )
    ids = [
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
    ]
    assert len(set(ids)) == len(ids)


async def test_host_keeps_its_logging(caplog: pytest.LogCaptureFixture) -> None:
    def state() -> Any:
        loggers = [logging.root, *(logging.getLogger(name) for name in ("litestar", "chatcore"))]
        return [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]

    before = state()
    async with app_on(MemoryStore()) as app, api_of(app) as api:
        assert (await api.call("GET", "/healthz")).json() == {"status": "ok"}
    assert state() == before
