"""Keeps the logs of events from growing for ever."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from chatcore import Messenger

FIRST_SECONDS = 30.0
"""After the start, when clients that come back all at once have been served."""

EVERY_SECONDS = 3600.0

logger = logging.getLogger("chatcore")


@asynccontextmanager
async def trimming(messenger: Messenger, keep: int, age: timedelta) -> AsyncIterator[None]:
    """Within this context, the logs are trimmed soon and then every hour. When that fails it
    is logged, and tried again the next time."""
    task = asyncio.create_task(_trim_again_and_again(messenger, keep, age))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _trim_again_and_again(messenger: Messenger, keep: int, age: timedelta) -> None:
    await asyncio.sleep(FIRST_SECONDS)
    while True:
        try:
            await messenger.trim_logs(keep=keep, age=age)
        except Exception:
            logger.exception("logs of events could not be trimmed; the next try is in an hour")
        await asyncio.sleep(EVERY_SECONDS)
