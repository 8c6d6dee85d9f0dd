"""Clients that send their bodies slowly, or leave, are cut off and logged as no error."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator

import pytest

from chatcore_memory import MemoryStore
from tests.support.api import Someone, api_at
from tests.support.apps import app_on
from tests.support.raw import connected, request
from tests.support.serving import Serving, serving

HALF = b'{"message": "hal'


@pytest.fixture
async def server() -> AsyncIterator[Serving]:
    async with app_on(MemoryStore(), body_seconds=0.3) as app, serving(app) as server:
        yield server


def begun(by: Someone, peer: Someone, framing: str) -> bytes:
    """A request of which half of the body has been sent."""
    return half(f"POST /chats/{peer.name}/messages", by, framing)


def half(line: str, by: Someone, framing: str) -> bytes:
    head = request(line, f"Authorization: Bearer {by.token}", framing)
    return head + (b"10\r\n" if "chunked" in framing else b"") + HALF


async def people(server: Serving) -> tuple[Someone, Someone]:
    async with api_at(server.url) as api:
        return await api.chat()


each_framing = pytest.mark.parametrize(
    "framing", ["Content-Length: 100", "Transfer-Encoding: chunked"]
)


@each_framing
async def test_stalled_body_is_cut_off(server: Serving, framing: str) -> None:
    ann, bob = await people(server)
    async with connected(server.url) as raw:
        await raw.send(begun(ann, bob, framing))
        answer = await raw.answer()
        assert (answer.status, json.loads(answer.body)) == (408, {"error": "Request Timeout"})
        assert await raw.rest() == b""


@each_framing
async def test_stalled_body_under_v1_is_cut_off_with_a_problem(
    server: Serving, framing: str
) -> None:
    async with api_at(server.url) as api:
        ann, _, chat = await api.chat_by_id()
    for line in (f"POST {chat}/messages", f"PUT {chat}/read"):
        async with connected(server.url) as raw:
            await raw.send(half(line, ann, framing))
            answer = await raw.answer()
            assert (answer.status, json.loads(answer.body)["code"]) == (408, "request_timeout")
            assert answer.headers["content-type"] == "application/problem+json"
            assert await raw.rest() == b""


async def test_trickling_body_is_cut_off(server: Serving) -> None:
    ann, bob = await people(server)
    async with connected(server.url) as raw:
        await raw.send(begun(ann, bob, "Content-Length: 10000"))
        answering = asyncio.create_task(raw.answer())
        # A client that is still sending may see the connection close before the answer.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not answering.done():
                await raw.send(b"x")
                await asyncio.sleep(0.01)  # Well below any limit on a pause.
            assert (await answering).status == 408
        async with asyncio.timeout(10):
            await asyncio.wait([answering])


@each_framing
async def test_client_that_leaves_midway_through_its_body_is_not_an_error(
    server: Serving, framing: str, caplog: pytest.LogCaptureFixture
) -> None:
    ann, bob = await people(server)
    async with connected(server.url) as raw:
        await raw.send(begun(ann, bob, framing))
    await server.idle()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_stalled_body_delays_no_other_client(server: Serving) -> None:
    ann, bob = await people(server)
    async with connected(server.url) as raw, api_at(server.url) as api:
        await raw.send(begun(ann, bob, "Content-Length: 100"))
        assert (await api.send(ann, bob.name, "hello")).status_code == 201
        assert (await raw.answer()).status == 408
        # An incomplete message is not stored.
        assert len((await api.read(bob, ann.name)).json()) == 1
