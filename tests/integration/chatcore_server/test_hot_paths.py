"""The cost of the hot paths, in a unit that a busy machine does not change: calls.

Counts every call of a Python or C function that a request makes on the event loop, so an extra
layer or one more call per row shows at once. Durations are for `make bench`. The budgets have
some 15 % of room.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from litestar.types import ASGIApp

from chatcore import Accounts, Messenger, UserName
from chatcore.model import utc_now
from chatcore_argon2 import Argon2Hasher
from chatcore_jwt import JwtTokens
from chatcore_litestar import create_app
from chatcore_sqlalchemy import SqlAlchemyStore

Request = Callable[[], Awaitable[int]]

TEXT = b'{"message":"Hello, how are you? I am fine, and the weather is too."}'


@pytest.fixture
async def requests(tmp_path: Path) -> AsyncIterator[dict[str, Request]]:
    """Requests by name, as a client makes them and a server passes them to the application."""
    tokens = JwtTokens("x" * 32)
    async with (
        Argon2Hasher() as hasher,
        await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chat.db") as store,
    ):
        messenger = Messenger(store)
        ann, *peers = [await store.add_user(UserName(f"user{n}"), "", 0) for n in range(21)]
        chats = [await messenger.open_chat(ann, peer) for peer in peers]
        for n in range(60):
            await messenger.send(ann, chats[0], f"message {n}")
        app = create_app(Accounts(store, hasher, tokens), messenger)
        token = tokens.issue(ann.id, utc_now())
        yield {
            "healthz": lambda: ask(app, token, "GET", "/healthz"),
            "send": lambda: ask(app, token, "POST", "/chats/user1/messages", body=TEXT),
            "history of 50": lambda: ask(
                app, token, "GET", "/chats/messages/user1", query=b"limit=50"
            ),
            "list of 20": lambda: ask(app, token, "GET", "/chats"),
        }


async def ask(
    app: Any, token: str, method: str, path: str, *, query: bytes = b"", body: bytes = b""
) -> int:
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"authorization", b"Bearer " + token.encode()),
            (b"content-length", b"%d" % len(body)),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    application: ASGIApp = app
    await application(scope, receive, send)  # type: ignore[arg-type]
    return status


async def calls_of(request: Request) -> int:
    """The fewest calls that one of several equal requests made."""
    counts = []
    for _ in range(10):
        count = 0

        def profile(_frame: FrameType, event: str, _argument: object) -> None:
            nonlocal count
            count += event in {"call", "c_call"}

        sys.setprofile(profile)
        try:
            await request()
        finally:
            sys.setprofile(None)
        counts.append(count)
        await asyncio.sleep(0)
    return min(counts)


BUDGETS = {
    "send": 330,
    "history of 50": 110,
    "list of 20": 82,
}
"""Calls above those of `/healthz`, which measures the framework alone."""


@pytest.mark.parametrize("name", BUDGETS)
async def test_hot_path_stays_within_its_budget_of_calls(
    name: str, requests: dict[str, Request]
) -> None:
    assert await requests[name]() in {200, 201}
    idle = await calls_of(requests["healthz"])
    calls = await calls_of(requests[name]) - idle
    assert calls <= BUDGETS[name]


async def test_one_extra_call_per_row_exceeds_the_budget(requests: dict[str, Request]) -> None:
    async def with_a_call_per_row() -> int:
        for n in range(50):
            abs(n)
        return await requests["history of 50"]()

    plain = await calls_of(requests["history of 50"])
    assert await calls_of(with_a_call_per_row) >= plain + 50
