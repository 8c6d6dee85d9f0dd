"""Whether the service can serve."""

import asyncio

from chatcore import Unavailable
from chatcore.ports import EventLog
from chatcore_litestar import Streams
from chatcore_litestar.health import Ready

STORE_SECONDS = 1.0


def readiness(store: EventLog, streams: Streams) -> Ready:
    """Says no while the store does not answer within a second, and once the service stops."""

    async def ready() -> bool:
        if streams.closed:
            return False
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await store.end_of_log(0)
        except (Unavailable, TimeoutError):
            return False
        return True

    return ready
