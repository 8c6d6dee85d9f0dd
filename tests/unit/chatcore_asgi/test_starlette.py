"""The chat mounted in Starlette, behind middleware of the host's."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from chatcore import RequestHead, Session
from chatcore_asgi import ChatApp
from tests.support.api import Someone
from tests.support.asgi_host import chat_of, client_of
from tests.support.listening import Request
from tests.support.litestar_host import accounts_on

pytest.importorskip("starlette", reason="requirements/hosts.txt is not installed")
pytest.importorskip("itsdangerous", reason="requirements/hosts.txt is not installed")

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request as Asked
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


class BySession:
    """The user whose id the host's login left in Starlette's session."""

    ambient = True

    def __init__(self, messenger: Any) -> None:
        self._messenger = messenger

    def credential(self, request: RequestHead) -> Any:
        return request.scope["session"].get("user_id")

    async def session(self, credential: Any) -> Session:
        return Session(await self._messenger.user(credential, name=f"User {credential}"))


class ByUser(BySession):
    """The user that the host's AuthenticationMiddleware found."""

    ambient = False

    def credential(self, request: RequestHead) -> Any:
        user = request.scope["user"]
        return user.display_name if user.is_authenticated else None


class HeaderBackend(AuthenticationBackend):
    async def authenticate(self, conn: Any) -> Any:
        if name := conn.headers.get("x-user"):
            return AuthCredentials(["authenticated"]), SimpleUser(name)
        return None


async def log_in(request: Asked) -> PlainTextResponse:
    request.session["user_id"] = request.path_params["user_id"]
    return PlainTextResponse("")


def host_of(chat: ChatApp, *middleware: Middleware, **options: Any) -> Starlette:
    sessions = Middleware(SessionMiddleware, secret_key="a secret of the host's")
    return Starlette(
        routes=[
            Route("/login/{user_id}", log_in, methods=["POST"]),
            Mount(chat.path, chat),
        ],
        middleware=[*middleware, sessions],
        lifespan=chat.lifespan,
        **options,
    )


@asynccontextmanager
async def running(
    app: Starlette, user: str | None = "1", root_path: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client, whose user is logged in."""
    async with (
        app.router.lifespan_context(app),
        client_of(app, root_path, headers=SAME_ORIGIN) as client,
    ):
        if user is not None:
            await client.post(f"{root_path}/login/{user}")
        yield client


async def test_the_session_cookie_of_the_host_authenticates() -> None:
    chat = chat_of(BySession)
    async with running(host_of(chat)) as client:
        assert (await client.get("/chat/v1/me")).json() == {"user": "User 1", "handle": "1"}
        client.cookies.set("session", client.cookies["session"] + "x")
        assert (await client.get("/chat/v1/me")).status_code == 401
        client.cookies.clear()
        assert (await client.get("/chat/v1/me")).status_code == 401


async def test_the_user_that_middleware_found_authenticates() -> None:
    chat = chat_of(ByUser)
    app = host_of(chat, Middleware(AuthenticationMiddleware, backend=HeaderBackend()))
    async with running(app, None) as client:
        answer = await client.get("/chat/v1/me", headers={"x-user": "17"})
        assert answer.json()["handle"] == "17"
        assert (await client.get("/chat/v1/me")).status_code == 401


@pytest.mark.parametrize("root_path", ["", "/shop"])
async def test_links_lead_to_the_path_of_the_mount(root_path: str) -> None:
    chat = chat_of(BySession, path="/talk")
    async with running(host_of(chat), root_path=root_path) as client:
        await chat.messenger.user("2", name="User 2")
        opened = await client.put(f"{root_path}/talk/v1/users/2/chat")
        assert opened.headers["location"] == f"{root_path}/talk/v1/chats/1"
        assert (await client.get(opened.headers["location"])).status_code == 200
        # The fixed routes, of which one begins with /chat.
        assert (await client.post(f"{root_path}/talk/chat/2")).status_code == 400
        document = (await client.get(f"{root_path}/talk/schema/openapi.json")).json()
        assert document["servers"] == [{"url": f"{root_path}/talk"}]
        assert "/v1/me" in document["paths"]
        assert "/login" not in document["paths"]


async def test_pages_of_other_origins_cannot_use_the_cookie() -> None:
    chat = chat_of(BySession, origins=["https://shop.example"])
    async with running(host_of(chat)) as client:
        await chat.messenger.user("2", name="User 2")
        cross = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
        refused = await client.put("/chat/v1/users/2/chat", headers=cross)
        assert (refused.status_code, refused.json()["code"]) == (403, "cross_origin")
        refused = await client.post("/chat/chat/2", headers=cross)
        assert (refused.status_code, refused.json()) == (403, {"error": "Forbidden"})
        assert (await client.get("/chat/chats", headers=cross)).json() == []
        own = {"sec-fetch-site": "same-site", "origin": "https://shop.example"}
        assert (await client.post("/chat/chat/2", headers=own)).status_code == 201
        form = await client.post("/chat/chats/2/messages", data={"message": "hello"})
        assert (form.status_code, form.json()) == (415, {"error": "Unsupported Media Type"})
        sent = await client.post("/chat/chats/2/messages", json={"message": "hello"})
        assert sent.status_code == 201


async def test_the_host_handles_no_error_of_the_chat() -> None:
    handled: list[Exception] = []

    async def handle(_: Asked, error: Exception) -> JSONResponse:
        handled.append(error)
        return JSONResponse({}, 418)

    chat = chat_of(BySession)
    app = host_of(chat, exception_handlers={404: handle, HTTPException: handle, Exception: handle})
    async with running(app) as client:
        assert (await client.get("/chat/none")).json() == {"error": "Not Found"}
        assert (await client.get("/chat/v1/none")).json()["code"] == "not_found"
        refused = await client.post("/chat/v1/me")
        assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
        assert not handled
        assert (await client.get("/none")).status_code == 418


async def seen(request: Asked, call_next: Callable[[Asked], Any]) -> Any:
    """Middleware that looks at the request after the answer."""
    answer = await call_next(request)
    answer.headers["x-seen"] = f"{type(request.app).__name__} {request.url.path}"
    return answer


async def test_middleware_sees_its_own_request_after_the_answer() -> None:
    app = host_of(chat_of(BySession), Middleware(BaseHTTPMiddleware, dispatch=seen))
    async with running(app) as client:
        answer = await client.get("/chat/v1/me")
        assert answer.headers["x-seen"] == "Starlette /chat/v1/me"


@pytest.mark.parametrize(
    "middleware",
    [
        Middleware(GZipMiddleware, minimum_size=1),
        Middleware(BaseHTTPMiddleware, dispatch=seen),
    ],
    ids=["gzip", "http middleware"],
)
async def test_middleware_delays_no_event_and_hides_no_disconnect(middleware: Middleware) -> None:
    chat = chat_of(ByUser)
    by_header = Middleware(AuthenticationMiddleware, backend=HeaderBackend())
    app: Any = host_of(chat, middleware, by_header)
    headers = {"accept": "text/event-stream", "accept_encoding": "gzip", "x_user": "1"}
    async with running(app, None):
        ann, bob = [await chat.messenger.user(each, name=f"User {each}") for each in "12"]
        opened = await chat.messenger.open_chat(ann, bob)
        async with Request(app, Someone("", ""), "/chat/v1/events", **headers) as stream:
            assert (await stream.frame()).data["type"] == "start"
            await chat.messenger.send(bob, opened, "hello")
            assert (await stream.event()).data["message"]["text"] == "hello"
            assert chat.streams.under_way == 1
        # The client has left.
        assert chat.streams.under_way == 0


async def test_accounts_and_the_page_may_be_mounted() -> None:
    chat = chat_of(None, realm="", accounts=accounts_on, page=True)
    async with running(host_of(chat), None) as client:
        page = await client.get("/chat", follow_redirects=True)
        assert (page.status_code, page.url.path) == (200, "/chat/")
        [script] = re.findall(r'src="(page/[^"]+)"', page.text)
        assert (await client.get(f"/chat/{script}")).status_code == 200
        account = {"username": "ann", "password": "correct horse battery"}
        assert (await client.post("/chat/register", json=account)).status_code == 201
        token = (await client.post("/chat/login", json=account)).json()["token"]
        bearer = {"authorization": f"Bearer {token}"}
        assert (await client.get("/chat/v1/me", headers=bearer)).json()["user"] == "ann"
        assert (await chat.accounts.authenticate(token)).user.name == "ann"


# It would rather have httpx2.
@pytest.mark.filterwarnings("ignore:Using `httpx`")
def test_a_host_is_tested_without_a_server() -> None:
    from starlette.testclient import TestClient

    app = host_of(chat_of(BySession))
    for user in ("1", "2"):
        with TestClient(app, headers=SAME_ORIGIN) as client:
            client.post(f"/login/{user}")
            assert client.get("/chat/v1/me").json()["handle"] == user
