"""A doorbell over LISTEN and NOTIFY."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Self
from urllib.parse import urlsplit

from chatcore.bus import PATIENCE_SECONDS, BusDoorbell, Link
from chatcore_postgres import read_url
from chatcore_postgres.failures import FAILURES, in_one_line, without_data
from chatcore_postgres.servers import Servers

_NAME = {"application_name": "chatcore doorbell"}

# No start-up parameter, which poolers refuse. Transactions that notify commit one after another;
# each would wait for the disk.
_SET_UP = "SET synchronous_commit = off"


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

        Of several hosts, separated by commas, it finds the one that takes writes. SQLAlchemy's
        spelling of the scheme, `postgresql+asyncpg://`, means the same.
        Nodes with the same channel (at most 63 bytes) hear each other; use one channel per store
        in the database. Opens even if the server does not answer. Raises ValueError for any other
        URL.
        """
        read = read_url(url)
        read.expect_writable()
        servers = Servers(read)
        place = urlsplit(url)
        name = f"PostgreSQL at {place.netloc.rpartition('@')[2]}{place.path}"
        return await cls(partial(_connect, servers, channel), name, patience=patience).start()


@asynccontextmanager
async def _connect(
    servers: Servers, channel: str, on_message: Callable[[bytes], None]
) -> AsyncIterator[Link]:
    try:
        connection = await servers.connect(_NAME)
    except FAILURES as failure:
        raise ConnectionError(in_one_line(failure)) from without_data(failure)
    try:
        await connection.execute(_SET_UP)
        link = _Link(connection, channel, servers.misfit)
        connection.add_termination_listener(link.end)
        await connection.add_listener(channel, lambda *event: on_message(event[-1].encode()))
        yield link
    finally:
        # A lost or frozen server does not answer the close.
        with suppress(*FAILURES):
            await connection.close(timeout=1)


class _Link:
    def __init__(self, connection: Any, channel: str, misfit: Callable[[Any], str | None]) -> None:
        self._connection = connection
        self._channel = channel
        self._misfit = misfit
        self._ended = asyncio.Event()

    def end(self, connection: Any) -> None:
        self._ended.set()

    async def send(self, message: bytes) -> None:
        if (misfit := self._misfit(self._connection)) is not None:
            raise ConnectionError(misfit)
        await self._connection.execute(
            "SELECT pg_notify($1, $2)", self._channel, message.decode("ascii")
        )

    async def run(self) -> None:
        await self._ended.wait()
