"""Whether the service can serve."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from chatcore import Unavailable
from chatcore.ports import EventLog
from chatcore_litestar import Streams
from chatcore_litestar.health import Ready

STORE_SECONDS = 1.0

WRITE_SECONDS = 1.0
"""How often it is asked at most whether a write would succeed."""

CheckWrites = Callable[[], Awaitable[None]]
"""Raises Unavailable when a write would fail now."""


def readiness(store: EventLog, streams: Streams, check_writes: CheckWrites | None = None) -> Ready:
    """Says no while the store does not answer within a second or would take no write, and once
    the service stops."""
    writes = _Writes(check_writes) if check_writes is not None else None

    async def ready() -> bool:
        if streams.closed:
            return False
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await store.end_of_log(0)
                return writes is None or await writes.succeed()
        except (Unavailable, TimeoutError):
            return False

    return ready


class _Writes:
    """Remembers for WRITE_SECONDS whether a write would succeed."""

    def __init__(self, check: CheckWrites) -> None:
        self._check = check
        self._checked_at = float("-inf")
        self._succeed = False
        self._turn = asyncio.Lock()

    async def succeed(self) -> bool:
        async with self._turn:
            if (now := time.monotonic()) - self._checked_at >= WRITE_SECONDS:
                # Until the answer is there, which may never come.
                self._checked_at, self._succeed = now, False
                await self._check()
                self._succeed = True
            return self._succeed
