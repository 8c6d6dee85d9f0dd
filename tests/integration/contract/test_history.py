"""The whole history in one answer: complete or visibly broken, at bounded cost."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chatcore import Message, StoreUnavailable
from chatcore.model import NewMessage
from chatcore.ports import MAX_PAGE
from chatcore_memory import MemoryStore
from chatcore_server.serving.protocol import BoundedProtocol
from tests.support.api import Api, Someone, api_at
from tests.support.apps import app_on
from tests.support.raw import Raw, connected, request
from tests.support.serving import Serving, serving, until
from tests.support.soak import soak_only

LONG = 25 * MAX_PAGE, "x" * 4000  # 50 MB of text, more than sockets buffer.


class Impatient(BoundedProtocol):
    stall_seconds = 0.2


class Watched(MemoryStore):
    """Counts the pieces that are read; can fail at one; can add a message after each."""

    pieces = 0
    fails_at: int | None = None
    arrivals = False

    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        self.pieces += 1
        if self.pieces == self.fails_at:
            raise StoreUnavailable("the disk is gone")
        found = await super().messages_after(chat_id, seq, limit=limit)
        if self.arrivals and seq:
            await self.append_message(NewMessage(chat_id, 1, "late", 0))
        return found

    async def fill(self, count: int, text: str = "x" * 1000) -> None:
        for _ in range(count):
            await self.append_message(NewMessage(1, 1, text, 0))


@asynccontextmanager
async def served(
    store: Watched, protocol: type[Any] = BoundedProtocol, **limits: Any
) -> AsyncIterator[tuple[Serving, Api]]:
    async with (
        app_on(store, **limits) as app,
        serving(app, protocol) as server,
        api_at(server.url) as api,
    ):
        yield server, api


@asynccontextmanager
async def half_read(server: Serving, api: Api, store: Watched) -> AsyncIterator[Raw]:
    """A connection on which the answer of LONG has begun; its client reads no further."""
    ann, bob = await api.chat()
    await store.fill(*LONG)
    await api.client.aclose()
    async with connected(server.url, buffer=1000) as raw:
        await raw.send(ask(ann, bob))
        assert await raw.read(100)
        yield raw


def ask(by: Someone, peer: Someone) -> bytes:
    return request(f"GET /chats/messages/{peer.name}", f"Authorization: Bearer {by.token}")


@pytest.mark.parametrize("count", [0, 1, MAX_PAGE - 1, MAX_PAGE, MAX_PAGE + 1, 3 * MAX_PAGE + 7])
async def test_history_is_complete_up_to_the_newest_message_at_the_start(count: int) -> None:
    store = Watched()
    async with served(store) as (_, api):
        ann, bob = await api.chat()
        await store.fill(count)
        store.arrivals = True
        answer = await api.read(bob, ann.name)
        assert answer.json() == [{"sender": ann.name, "message": "x" * 1000}] * count
        # A history that fits one piece is sent as one plain body.
        assert ("content-length" in answer.headers) == (count <= MAX_PAGE)


@soak_only
async def test_messages_sent_during_the_transfer_do_not_disturb_it(api: Api) -> None:
    ann, bob = await api.chat()
    texts = [f"{n}" for n in range(MAX_PAGE + 20)]
    limiter = anyio.CapacityLimiter(16)

    async def send(text: str) -> None:
        async with limiter:
            assert (await api.send(ann, bob.name, text)).status_code == 201

    await asyncio.gather(*map(send, texts))
    sending = asyncio.gather(*(send(f"late {n}") for n in range(60)))
    for _ in range(5):
        history = [item["message"] for item in (await api.read(bob, ann.name)).json()]
        assert sorted(history[: len(texts)]) == sorted(texts)
        late = history[len(texts) :]
        assert len(set(late)) == len(late)
        assert all(text.startswith("late") for text in late)
    await sending
    assert len((await api.read(bob, ann.name)).json()) == len(texts) + 60


@pytest.mark.parametrize("piece", [1, 2])
async def test_failure_before_the_answer_starts_is_a_503(piece: int) -> None:
    store = Watched()
    async with served(store) as (_, api):
        ann, bob = await api.chat()
        await store.fill(2 * MAX_PAGE)
        store.fails_at = piece
        answer = await api.read(ann, bob.name)
        assert (answer.status_code, answer.json()) == (503, {"error": "Service Unavailable"})
        assert answer.headers["retry-after"] == "1"


async def test_failure_midway_leaves_the_array_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Watched()
    async with served(store) as (server, api):
        ann, bob = await api.chat()
        await store.fill(10 * MAX_PAGE)
        store.fails_at = 7
        with pytest.raises(httpx.RemoteProtocolError):
            await api.read(ann, bob.name)
        store.pieces = 0
        async with connected(server.url) as raw:
            await raw.send(ask(ann, bob))
            received = await raw.rest()
        assert len(received) > 6 * MAX_PAGE * 1000
        # Neither the array nor the transfer was completed.
        assert not received.rstrip().endswith(b"]")
        assert not received.endswith(b"0\r\n\r\n")
    assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records), (
        "the failure was not logged"
    )


async def test_client_that_stops_reading_is_dropped() -> None:
    store = Watched()
    async with (
        served(store, Impatient, send_seconds=0.2) as (server, api),
        half_read(server, api, store) as raw,
    ):
        await server.idle()
        # The server read ahead only what the sockets hold, and little more.
        assert store.pieces < 13
        assert not (await raw.rest()).endswith(b"0\r\n\r\n")


async def test_no_task_waits_for_a_client_that_stops_reading_on_any_server() -> None:
    store = Watched()
    async with (
        served(store, HttpToolsProtocol, send_seconds=0.2) as (server, api),
        half_read(server, api, store) as raw,
    ):
        # uvicorn closes this connection only after the client has read the rest.
        await until(lambda: not server.server_state.tasks)
        assert not (await raw.rest()).endswith(b"]\r\n0\r\n\r\n")


async def test_history_is_read_no_further_after_the_client_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Watched()
    async with served(store) as (server, api):
        async with half_read(server, api, store):
            pass
        await server.idle()
        assert store.pieces < 13
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
