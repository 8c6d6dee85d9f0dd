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

CHECK_SECONDS = 1.0
"""Minimum interval between the starts of two checks."""

CheckWrites = Callable[[], Awaitable[None]]
"""Raises Unavailable when a write would fail now."""


def readiness(store: EventLog, streams: Streams, check_writes: CheckWrites | None = None) -> Ready:
    """Create the readiness check.

    It fails while the store does not answer within STORE_SECONDS or would refuse a write, and
    from the moment the service stops.
    """

    async def check() -> None:
        await store.end_of_log(0)
        if check_writes is not None:
            await check_writes()

    checks = _Checks(check)

    async def ready() -> bool:
        return not streams.closed and await checks.succeed()

    return ready


class _Checks:
    """Runs a check every CHECK_SECONDS at most, one at a time. All callers share its result."""

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        self._check = check
        self._began = float("-inf")
        self._running: asyncio.Task[bool] | None = None

    async def succeed(self) -> bool:
        """Whether the latest check succeeded; False if it takes longer than STORE_SECONDS."""
        now = time.monotonic()
        if self._running is None or (self._running.done() and now - self._began >= CHECK_SECONDS):
            self._began, self._running = now, asyncio.create_task(self._succeeds())
        # Not cancelled when it is late: that would break the connection that it waits for.
        await asyncio.wait([self._running], timeout=STORE_SECONDS)
        return self._running.done() and self._running.result()

    async def _succeeds(self) -> bool:
        try:
            await self._check()
        except Unavailable:
            return False
        return True
