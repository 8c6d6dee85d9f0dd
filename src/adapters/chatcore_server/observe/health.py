"""The readiness check behind `/readyz`."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from chatcore import Unavailable
from chatcore.ports import EventLog
from chatcore_litestar import Streams
from chatcore_litestar.health import Ready

STORE_SECONDS = 1.0
"""Time limit for an answer of the store."""

WRITE_SECONDS = 1.0
"""Minimum interval between two write checks."""

CheckWrites = Callable[[], Awaitable[None]]
"""Raises Unavailable when a write would fail now."""


def readiness(store: EventLog, streams: Streams, check_writes: CheckWrites | None = None) -> Ready:
    """Create the readiness check.

    It fails while the store does not answer within STORE_SECONDS or would refuse a write, and
    from the moment the service stops.
    """
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
    """Caches for WRITE_SECONDS whether a write would succeed."""

    def __init__(self, check: CheckWrites) -> None:
        self._check = check
        self._checked_at = float("-inf")
        self._succeed = False
        self._lock = asyncio.Lock()

    async def succeed(self) -> bool:
        async with self._lock:
            if (now := time.monotonic()) - self._checked_at >= WRITE_SECONDS:
                # Failed until the check returns, which may never happen.
                self._checked_at, self._succeed = now, False
                await self._check()
                self._succeed = True
            return self._succeed
