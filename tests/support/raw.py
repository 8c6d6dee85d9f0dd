"""A raw connection, for bytes that no HTTP client would send."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

PATIENCE = 60.0


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Raw:
    """A raw connection. Every wait ends after 60 s with a TimeoutError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send the bytes. Raises ConnectionError if the server has closed the connection."""
        async with asyncio.timeout(PATIENCE):
            self._writer.write(data)
            await self._writer.drain()

    async def answer(self, patience: float = PATIENCE) -> Answer:
        """Return the next response, which must have a Content-Length. Raises IncompleteReadError
        if the server closes the connection before its end."""
        async with asyncio.timeout(patience):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.rstrip().split("\r\n")
            pairs = [field.partition(": ") for field in fields]
            headers = {name.lower(): value for name, _, value in pairs}
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(line.split(" ")[1]), headers, body)

    async def read(self, most: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read(most)

    async def rest(self) -> bytes:
        """Return everything until the server closes the connection. Raises ConnectionResetError
        if the server resets it."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()


@asynccontextmanager
async def connected(url: str, *, buffer: int | None = None) -> AsyncIterator[Raw]:
    """Open a connection that reads at most `buffer` bytes ahead."""
    parts = urlsplit(url)
    options = {"limit": buffer} if buffer else {}
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, **options)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Build a request, with a Content-Length if it has a body."""
    lines = [f"{line} HTTP/1.1", "Host: chatcore.test", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
