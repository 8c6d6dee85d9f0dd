"""A connection that sends any bytes at all."""

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
    """Whatever it waits for, it waits for 60 s at most (TimeoutError)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Raises ConnectionError when the other side has hung up."""
        async with asyncio.timeout(PATIENCE):
            self._writer.write(data)
            await self._writer.drain()

    async def answer(self, patience: float = PATIENCE) -> Answer:
        """The next answer, of which the length is told. Raises IncompleteReadError when the
        other side hangs up before its end."""
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
        """All that comes until the other side hangs up; raises ConnectionResetError when it
        does so with a bang."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()


@asynccontextmanager
async def connected(url: str, *, buffer: int | None = None) -> AsyncIterator[Raw]:
    """A connection; it reads no more than `buffer` ahead of what is asked for."""
    parts = urlsplit(url)
    options = {"limit": buffer} if buffer else {}
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, **options)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """A request; its Content-Length is told unless there is no body."""
    lines = [f"{line} HTTP/1.1", "Host: chatcore.test", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
