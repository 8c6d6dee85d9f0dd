"""A doorbell over LISTEN and NOTIFY."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg

from chatcore.bus import PATIENCE_SECONDS, BusDoorbell, Link

_SESSION = {
    "application_name": "chatcore doorbell",
    # Transactions that notify commit one after another; each would wait for the disk.
    "synchronous_commit": "off",
}


class NotifyDoorbell(BusDoorbell):
    """A Doorbell between nodes that share a PostgreSQL database.

    It holds one connection, directly to the database: through a pooler in transaction mode it
    hears nothing, as without a bus.
    """

    @classmethod
    async def open(
        cls, url: str, *, channel: str = "chatcore", patience: float = PATIENCE_SECONDS
    ) -> Self:
        """Connect to `postgresql://[user[:password]@]host[:port]/database`, or
        `postgresql://[user@]/database?host=/directory` for a socket in a directory.

        SQLAlchemy's spelling of the scheme, `postgresql+asyncpg://`, means the same.
        Nodes with the same channel (at most 63 bytes) hear each other; use one channel per store
        in the database. Opens even if the server does not answer. Raises ValueError for any other
        URL.
        """
        url = url.replace("postgresql+asyncpg://", "postgresql://", 1)
        place = urlsplit(url)
        if place.scheme not in {"postgres", "postgresql"}:
            raise ValueError("not a URL that begins with postgresql://")
        name = f"PostgreSQL at {place.netloc.rpartition('@')[2]}{place.path}"
        return await cls(partial(_connect, url, channel), name, patience=patience).start()


@asynccontextmanager
async def _connect(
    url: str, channel: str, on_message: Callable[[bytes], None]
) -> AsyncIterator[Link]:
    connection = await asyncpg.connect(url, server_settings=_SESSION)
    try:
        link = _Link(connection, channel)
        connection.add_termination_listener(link.end)
        await connection.add_listener(channel, lambda *event: on_message(event[-1].encode()))
        yield link
    finally:
        # A lost or frozen server does not answer the close.
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=1)


class _Link:
    def __init__(self, connection: Any, channel: str) -> None:
        self._connection = connection
        self._channel = channel
        self._ended = asyncio.Event()

    def end(self, connection: Any) -> None:
        self._ended.set()

    async def send(self, message: bytes) -> None:
        await self._connection.execute(
            "SELECT pg_notify($1, $2)", self._channel, message.decode("ascii")
        )

    async def run(self) -> None:
        await self._ended.wait()
