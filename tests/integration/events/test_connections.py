"""Streams over sockets: their cost, their traces and their ends."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chatcore_server.observe.request_log import SLOW_SECONDS
from chatcore_server.serving.protocol import BoundedProtocol
from tests.support.api import SOAK, Someone, api_at
from tests.support.listening import Scene, scene
from tests.support.service import QuickService, Service
from tests.support.sse import head
from tests.unit.chatcore_server.serving.test_protocol import serving

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs /proc, which Linux has"
)

SECONDS = 60  # Far longer than any step takes; a test that waits this long has failed.
START = b'data: {"type":"start"'
END = b'2a\r\ndata: {"type":"end","reason":"shutdown"}\n\n\r\n0\r\n\r\n'


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """uvloop, on which the service runs."""
    return "asyncio", {"use_uvloop": True}


class Peer:
    """A raw client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(SECONDS):
            return await self.reader.readuntil(mark)

    async def rest(self) -> bytes:
        """Everything that arrives until the server closes."""
        async with asyncio.timeout(SECONDS):
            return await self.reader.read()

    def leave(self, *, rudely: bool = False) -> None:
        if rudely:
            self.writer.transport.abort()
        else:
            self.writer.close()


class Served:
    def __init__(self, scene: Scene, port: int) -> None:
        self.scene = scene
        self.port = port

    async def connect(self, request: bytes) -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        peer.writer.write(request)
        return peer

    async def stream(self, query: str = "", version: str = "1.1") -> Peer:
        """A stream of Bob's."""
        peer = await self.connect(head(self.scene.bob, query, version))
        await peer.until(START)
        return peer

    async def under_way(self, count: int) -> None:
        """Return when exactly this many streams and polls are under way."""
        async with asyncio.timeout(SECONDS):
            while self.scene.streams.under_way != count:  # noqa: ASYNC110 (a count has no event to wait for)
                await asyncio.sleep(0.001)


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[Served]:
    """Streams in this process, behind the protocol of the service."""
    async with scene(**options) as made, serving(made.app, BoundedProtocol) as running:
        yield Served(made, running.port)


async def test_connection_outlives_its_stream() -> None:
    async with served(max_age_seconds=1) as at:
        peer = await at.stream()
        ended = await peer.until(b"0\r\n\r\n")
        assert b'data: {"type":"end","reason":"age"}\n\n' in ended
        peer.writer.write(head(at.scene.bob))
        assert await peer.until(START)
        peer.leave()
        await at.under_way(0)


async def test_http_1_0_gets_a_stream_without_chunks() -> None:
    async with served(heartbeat_seconds=0.05) as at:
        peer = await at.connect(head(at.scene.bob, version="1.0"))
        top = (await peer.until(b"\r\n\r\n")).lower()
        assert b"chunked" not in top
        assert b"connection: close" in top
        await peer.until(b'data: {"type":"heartbeat"}\n\n')
        at.scene.streams.end_all()
        *frames, last = (await peer.rest()).split(b"\n\n")
        assert last == b""
        assert frames[-1] == b'data: {"type":"end","reason":"shutdown"}'
        assert set(frames[:-1]) <= {b'data: {"type":"heartbeat"}'}
        peer.leave()


async def test_head_opens_no_stream() -> None:
    async with served() as at:
        peer = await at.connect(head(at.scene.bob).replace(b"GET", b"HEAD", 1))
        assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
        peer.writer.write(head(at.scene.bob))
        assert await peer.until(START)
        peer.leave()
        await at.under_way(0)


async def test_peer_that_stops_reading_is_dropped_without_disturbing_others() -> None:
    async with served(send_seconds=0.5) as at:
        stalled, other = await at.stream(), await at.stream()
        # Nothing is read: the part that exceeds the buffers of both sockets stays unsent.
        stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
        text = "я" * 4000
        async with asyncio.timeout(SECONDS):
            sent = 0
            while at.scene.streams.under_way == 2:
                await at.scene.send(text)
                sent += 1
                await other.until(b'"seq":%d,' % sent)
        await at.scene.send("last")
        assert await other.until(b'"last"')
        stalled.leave(rudely=True)
        other.leave()
        await at.under_way(0)


@needs_proc
async def test_many_closed_connections_leave_nothing_behind() -> None:
    """In the process: tasks, listeners and descriptors."""
    async with served() as at:
        polls = (
            head(at.scene.bob)
            .replace(b"/events", b"/events?wait=30")
            .replace(b"text/event-stream", b"*/*")
        )
        await come_and_go(at, polls, 50)
        before = await left_over()
        await come_and_go(at, polls, 5_000 if SOAK else 200)
        await at.under_way(0)
        assert at.scene.doorbell.listeners == 0
        async with asyncio.timeout(SECONDS):
            while await left_over() > before:  # noqa: ASYNC110 (a count has no event to wait for)
                await asyncio.sleep(0.01)


async def come_and_go(at: Served, polls: bytes, count: int) -> None:
    for n in range(count):
        peer = await at.stream() if n % 2 else await at.connect(polls)
        if n % 4 == 2:
            await at.under_way(1)
        peer.leave(rudely=n % 3 == 0)


async def left_over() -> tuple[int, int]:
    await asyncio.sleep(0)
    return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))


# The service as a process


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(10_000, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_service_stops_with_many_open_streams(tmp_path: Path, many_descriptors: None) -> None:
    """Within the 5 seconds of `stop`, and each stream ends with its end frame."""
    users = 100 if SOAK else 10
    with QuickService(tmp_path) as service, ExitStack() as opened:
        async with api_at(service.url) as api:
            people = [await api.join("ann") for _ in range(users)]
        streams = [opened.enter_context(stream(service, by)) for by in people for _ in range(20)]
        await asyncio.sleep(SLOW_SECONDS + 0.1)
        assert await asyncio.to_thread(service.stop) == 0
        for each in streams:
            assert everything(each) == END
        # A long stream is not a slow request.
        assert "events" not in service.log()
        assert "ERROR" not in service.log()


@needs_proc
async def test_closed_connections_cost_no_memory(tmp_path: Path) -> None:
    with QuickService(tmp_path) as service:
        async with api_at(service.url) as api:
            ann = await api.join("ann")
        pid = service.process.pid
        idle = open_files(pid)

        async def come_and_go(count: int) -> int:
            """The memory in use after all connections have closed."""
            for _ in range(count):
                stream(service, ann).close()
            async with asyncio.timeout(SECONDS):
                while open_files(pid) > idle:  # noqa: ASYNC110 (a count has no event to wait for)
                    await asyncio.sleep(0.05)
            return resident(pid)

        memory = await come_and_go(300)
        assert await come_and_go(10_000 if SOAK else 500) - memory < 2**20


def stream(service: Service, by: Someone) -> Any:
    """A socket whose stream has begun."""
    opened = socket.create_connection(("127.0.0.1", service.port), timeout=SECONDS)
    opened.sendall(head(by))
    received = b""
    while START not in received:
        piece = opened.recv(4096)
        assert piece
        received += piece
    return opened


def everything(opened: socket.socket) -> bytes:
    received = b""
    while piece := opened.recv(4096):
        received += piece
    return received.removeprefix(b"\r\n")


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
