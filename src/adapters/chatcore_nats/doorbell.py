"""A doorbell over a NATS subject."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Self
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from chatcore.bus import PATIENCE_SECONDS, BusDoorbell, Link

_CLOSE_SECONDS = 1.0


class NatsDoorbell(BusDoorbell):
    """A Doorbell between nodes that share a NATS server or cluster."""

    @classmethod
    async def open(
        cls, url: str, *, channel: str = "chatcore", patience: float = PATIENCE_SECONDS
    ) -> Self:
        """Connect to `nats://[user:password@]host[:port]`, or `tls://` for TLS.

        Nodes with the same channel (a NATS subject) hear each other; use one channel per store.
        Opens even if the server does not answer. Raises ValueError for any other URL.
        """
        place = urlsplit(url)
        if place.scheme not in {"nats", "tls"}:
            raise ValueError("not a URL that begins with nats:// or tls://")
        name = f"NATS at {place.hostname}:{place.port or 4222}"
        return await cls(partial(_connect, url, channel), name, patience=patience).start()


@asynccontextmanager
async def _connect(
    url: str, channel: str, on_message: Callable[[bytes], None]
) -> AsyncIterator[Link]:
    client = Client()
    link = _Link(client, channel)
    try:
        # By default, the client reconnects without reporting missed messages, and retries an
        # absent server for minutes.
        await client.connect(
            url,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            error_cb=link.note,
            closed_cb=link.end,
            name="chatcore",
        )

        async def hear(message: Msg) -> None:
            on_message(message.data)

        await client.subscribe(channel, cb=hear)
        yield link
    finally:
        # A frozen server would not accept the pending messages.
        with suppress(TimeoutError, OSError, nats.errors.Error):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await client.close()


class _Link:
    def __init__(self, client: Client, channel: str) -> None:
        self._client = client
        self._channel = channel
        self._ended = asyncio.Event()
        self._error: Exception | None = None

    async def note(self, error: Exception) -> None:
        # The doorbell logs a loss once; the client would log every attempt.
        self._error = error

    async def end(self) -> None:
        self._ended.set()

    async def send(self, message: bytes) -> None:
        await self._client.publish(self._channel, message)

    async def run(self) -> None:
        await self._ended.wait()
        if self._error is not None:
            raise self._error
