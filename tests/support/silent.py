"""A server that accepts connections and never answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Silent:
    def __init__(self, port: int) -> None:
        self.port = port
        self.connections = 0
        """All connections so far."""


@asynccontextmanager
async def silent_server() -> AsyncIterator[Silent]:
    """Listen on a port of 127.0.0.1 during the block."""
    going = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.connections += 1
        await going.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    silent = Silent(server.sockets[0].getsockname()[1])
    try:
        yield silent
    finally:
        going.set()
        server.close()
