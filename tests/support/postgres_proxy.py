"""A proxy between a client and PostgreSQL that cuts connections at chosen moments.

It reads just enough of the protocol: a client's message is, after the first one, a letter, its
length in four bytes that count themselves, and that many more bytes
(https://www.postgresql.org/docs/current/protocol-message-formats.html).
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum, auto
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

SECONDS = 120

COMMIT = b"QCOMMIT\0"
"""The message that commits a write of a store."""
POOLED_COMMIT = b"; COMMIT\0"
"""The end of that message through a pooler in transaction mode; there, reads have a COMMIT, too."""

READY = b"Z\0\0\0\x05"
"""The first bytes of the server's last message in response to a statement."""


ASK_FOR_TLS = (80877103).to_bytes(4)


class Fate(Enum):
    """The fate of a message of the client."""

    PASSES = auto()
    IS_LOST = auto()
    """The connection breaks before the message arrives."""
    IS_NOT_ANSWERED = auto()
    """The connection breaks once the server has carried out the message."""
    STALLS = auto()
    """The message, and everything after it, is held until `go_on`."""


class Proxy:
    def __init__(self, server: Path) -> None:
        self._server = server
        self.judge: Callable[[bytes], Fate] = lambda _: Fate.PASSES
        """Called with every message: its letter, then its contents after the length. A simple
        query is `Q`, its text, and NUL."""
        self.cuts = 0
        self.connections = 0
        """All connections so far."""
        self.servers: list[asyncio.Server] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._going_on = asyncio.Event()

    def go_on(self) -> None:
        self._going_on.set()

    async def listen_on_tcp(self) -> int:
        """Also listen on a port of 127.0.0.1. Returns the port."""
        server = await asyncio.start_server(self.connected, "127.0.0.1", 0)
        self.servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self.serve(client, to_client))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def close(self) -> None:
        for server in self.servers:
            server.close()
        for task in tuple(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.connections += 1
        server, to_server = await asyncio.open_unix_connection(self._server)
        answered = asyncio.Event()
        muted = asyncio.Event()

        async def answers() -> None:
            while data := await server.read(65536):
                if READY in data:
                    answered.set()
                if not muted.is_set():
                    to_client.write(data)
                    await to_client.drain()

        async def messages() -> None:
            opening = ASK_FOR_TLS
            # The message after a request for TLS has no letter either.
            while opening == ASK_FOR_TLS:
                length = await client.readexactly(4)
                opening = await client.readexactly(int.from_bytes(length) - 4)
                to_server.write(length + opening)
            while True:
                head = await client.readexactly(5)
                body = await client.readexactly(int.from_bytes(head[1:]) - 4)
                match self.judge(head[:1] + body):
                    case Fate.IS_LOST:
                        self.cuts += 1
                        return
                    case Fate.IS_NOT_ANSWERED:
                        self.cuts += 1
                        muted.set()
                        answered.clear()
                        # The server must finish the statement in any case.
                        to_server.write(head + body)
                        if head[:1] != b"Q":
                            to_server.write(b"S\0\0\0\x04")
                        async with asyncio.timeout(SECONDS):
                            await answered.wait()
                        return
                    case Fate.STALLS:
                        await self._going_on.wait()
                to_server.write(head + body)
                await to_server.drain()

        pumps = [asyncio.create_task(pump()) for pump in (answers, messages)]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            # Before the wait, during which `close` may cancel this task.
            for end in (to_client, to_server):
                end.transport.abort()
            await asyncio.gather(*pumps, return_exceptions=True)


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Yield a proxy to the server of a URL, and the URL through the proxy."""
    parts = urlsplit(url)
    folder = Path(parts.query.removeprefix("host="))
    proxy = Proxy(folder / ".s.PGSQL.5432")
    with tempfile.TemporaryDirectory(prefix="chatcore-proxy-") as name:
        path = Path(name) / ".s.PGSQL.5432"
        proxy.servers.append(await asyncio.start_unix_server(proxy.connected, path))
        try:
            yield proxy, urlunsplit(parts._replace(query=urlencode({"host": name})))
        finally:
            await proxy.close()
