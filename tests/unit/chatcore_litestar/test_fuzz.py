"""Broken requests through the whole application: never a 5xx."""

from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from chatcore_litestar import create_app
from chatcore_memory import MemoryStore
from tests.support.apps import core
from tests.support.fuzzing import mutations
from tests.support.soak import SOAK

REQUESTS = 100_000 if SOAK else 500
PASSWORD = "correct horse battery"


class Service:
    """The application, called without a server."""

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def status(
        self, method: str, path: bytes, body: bytes = b"", query: bytes = b"", **headers: bytes
    ) -> int:
        # Servers decode the path in the same way.
        decoded = unquote_to_bytes(path).decode("utf-8", "replace")
        known = {"authorization": b"Bearer " + self._token, "content-type": b"application/json"}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": decoded,
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.encode(), value) for name, value in (known | headers).items()],
            "client": None,  # Without an address, guesses are not limited.
            "server": ("chatcore.test", 80),
        }
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self._app(scope, receive, send)
        [status] = statuses
        return status


@pytest.fixture
async def service() -> Any:
    async with core(MemoryStore()) as (accounts, messenger):
        ann = await accounts.register("ann", PASSWORD)
        bob = await accounts.register("bob", PASSWORD)
        chat = await messenger.open_chat(ann, bob)
        await messenger.send(ann, chat, "hello")
        token = await accounts.log_in("ann", PASSWORD)
        yield Service(create_app(accounts, messenger), token)


async def test_broken_bodies_get_a_4xx(seed: int, service: Service) -> None:
    sends = (b'{"message":"hello"}', '{"message":"\u00e9\U0001f600"}'.encode())
    posts = (b'{"text":"hello","idempotency_key":"k-1"}', b'{"text":"x","idempotency_key":null}')
    found = set()
    for body in mutations(seed, *sends, count=REQUESTS):
        found.add(await service.status("POST", b"/chats/bob/messages", body))
    assert found <= {201, 400}
    for body in mutations(seed, *posts, count=REQUESTS):
        found.add(await service.status("POST", b"/v1/chats/1/messages", body))
    # The mutations are random: only a long run is sure to meet each answer.
    assert 400 in found <= {201, 400, 422}


async def test_broken_credentials_get_one_answer(seed: int, service: Service) -> None:
    """Every invalid login gets the same 401."""
    good = (b'{"username":"ann","password":"short"}', b"[]")
    for body in mutations(seed, *good, count=REQUESTS):
        assert await service.status("POST", b"/login", body) == 401
    # Some mutations lengthen the password enough to create an account.
    bodies = mutations(seed, *good, count=REQUESTS)
    found = {await service.status("POST", b"/register", body) for body in bodies}
    assert 400 in found
    assert found <= {201, 400}


async def test_broken_paths_get_no_5xx(seed: int, service: Service) -> None:
    good = (
        b"/chats",
        b"/chats/messages/bob",
        b"/chat/bob",
        b"/v1/chats/1/messages/1",
        b"/v1/users/b%C3%B6b/chat",
        b"/v1/sync",
        b"/page/0/main.js",
    )
    found = set()
    for path in mutations(seed, *good, count=REQUESTS):
        if len(path) < 4096:
            found.add(await service.status("GET", b"/" + path.lstrip(b"/")))
    assert {200, 404} <= found <= {200, 400, 404, 405}


async def test_broken_queries_and_headers_get_a_4xx(seed: int, service: Service) -> None:
    good = (b"limit=2&before=3", b"after=1", b"limit=200", b"around=1&limit=1")
    found = set()
    for query in mutations(seed, *good, count=REQUESTS):
        found.add(await service.status("GET", b"/chats/messages/bob", query=query))
        found.add(await service.status("GET", b"/v1/chats/1/messages", query=query))
    assert found == {200, 400}
    cursors = (b"after=0123456789abcdef-1-4", b"after=a-1-0&wait=0", b"wait=0")
    found = {
        await service.status("GET", b"/v1/events", query=query.replace(b"wait=", b"wait=0&x="))
        for query in mutations(seed, *cursors, count=REQUESTS)
    }
    assert found <= {200, 400}
    found = {
        await service.status("GET", b"/chats", authorization=b"Bearer " + raw)
        for raw in mutations(seed, service._token, count=REQUESTS)
    }
    assert found <= {200, 401}
