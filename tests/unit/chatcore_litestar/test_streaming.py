"""Long histories are sent in small chunks, and other tasks run between the chunks."""

import asyncio
import json
from typing import Any

from chatcore.model import NewMessage
from chatcore.ports import MAX_PAGE
from chatcore_memory import MemoryStore
from tests.support.api import api_of
from tests.support.apps import app_on

CHUNK = 64 * 1024


async def test_history_whose_token_is_voided_is_cut_off() -> None:
    store = MemoryStore()
    async with app_on(store) as app, api_of(app) as api:
        ann, bob = await api.chat()
        for n in range(4 * MAX_PAGE):
            await store.append_message(NewMessage(1, 1, f"{n}" + "x" * 1000, 0))
        bodies: list[dict[str, Any]] = []

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                bodies.append(message)
                if len(bodies) == 2:
                    await api.call("POST", "/v1/logout-everywhere", ann)

        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/chats/messages/{bob.name}",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {ann.token}".encode())],
        }
        await app(scope, receive, send)  # type: ignore[arg-type]
    # No final chunk: the server closes the connection.
    assert [body["more_body"] for body in bodies] == [True, True]


async def test_a_long_history_takes_turns_with_other_work() -> None:
    store = MemoryStore()
    async with app_on(store) as app, api_of(app) as api:
        ann, bob = await api.chat()
        for n in range(4 * MAX_PAGE):
            await store.append_message(NewMessage(1, 1, f"{n}" + "x" * 1000, 0))
        turns = 0
        chunks: list[tuple[int, bytes]] = []

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            # Never waits, like a socket that takes everything at once.
            if body := message.get("body"):
                chunks.append((turns, body))

        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/chats/messages/{bob.name}",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {ann.token}".encode())],
        }
        task = asyncio.create_task(others())
        await app(scope, receive, send)  # type: ignore[arg-type]
        task.cancel()
    assert len(json.loads(b"".join(body for _, body in chunks))) == 4 * MAX_PAGE
    # The send timeout applies to each chunk, so chunks are small.
    assert max(len(body) for _, body in chunks) <= CHUNK
    [*moments, _end] = [turn for turn, _ in chunks]
    assert len(set(moments)) == len(moments) > 4
