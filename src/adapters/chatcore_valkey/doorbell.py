"""A doorbell over PUBLISH and SUBSCRIBE."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Self
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from chatcore.bus import PATIENCE_SECONDS, BusDoorbell, Link


class ValkeyDoorbell(BusDoorbell):
    """A Doorbell between nodes that share a Valkey or Redis server, version 2 or later."""

    @classmethod
    async def open(
        cls, url: str, *, channel: str = "chatcore", patience: float = PATIENCE_SECONDS
    ) -> Self:
        """Connect to `valkey://[[user]:password@]host[:port]` or `redis://`; to `valkeys://` or
        `rediss://` for TLS; to `unix:///path` for a socket file.

        Nodes with the same channel hear each other; use one channel per store. Opens even if the
        server does not answer. Raises ValueError for any other URL.
        """
        url = re.sub("^valkey(s?)://", r"redis\1://", url)
        parse_url(url)
        place = urlsplit(url)
        where = f"{place.hostname}:{place.port or 6379}" if place.hostname else place.path
        name = f"Valkey at {where}"
        return await cls(partial(_connect, url, channel), name, patience=patience).start()


@asynccontextmanager
async def _connect(
    url: str, channel: str, on_message: Callable[[bytes], None]
) -> AsyncIterator[Link]:
    async with AsyncExitStack() as stack:
        # By default, the client reconnects without reporting missed messages.
        client: Redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=None)
        stack.push_async_callback(client.aclose)
        subscription = client.pubsub()
        stack.push_async_callback(subscription.aclose)
        await subscription.subscribe(channel)
        # The confirmation: from here on, this connection hears every message on the channel.
        await subscription.get_message(timeout=None)
        yield _Link(client, subscription, channel, on_message)


class _Link:
    def __init__(
        self, client: Redis, subscription: PubSub, channel: str, on_message: Callable[[bytes], None]
    ) -> None:
        self._client = client
        self._subscription = subscription
        self._channel = channel
        self._on_message = on_message

    async def send(self, message: bytes) -> None:
        await self._client.publish(self._channel, message)

    async def run(self) -> None:
        message: dict[str, Any]
        async for message in self._subscription.listen():
            if message["type"] == "message":
                self._on_message(message["data"])
