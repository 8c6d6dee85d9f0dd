"""Trims the event logs in the background."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from chatcore.messenger import Messenger

FIRST_SECONDS = 30.0
"""Delay after the start, so that reconnecting clients are served first."""

EVERY_SECONDS = 3600.0

logger = logging.getLogger("chatcore")


@asynccontextmanager
async def trimming(messenger: Messenger, keep: int, age: timedelta) -> AsyncIterator[None]:
    """Within this context, trim the event logs after FIRST_SECONDS and then every EVERY_SECONDS.

    A failure is logged; the next round tries again.
    """
    task = asyncio.create_task(_trim_repeatedly(messenger, keep, age))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _trim_repeatedly(messenger: Messenger, keep: int, age: timedelta) -> None:
    await asyncio.sleep(FIRST_SECONDS)
    while True:
        try:
            await messenger.trim_logs(keep=keep, age=age)
        except Exception:
            logger.exception("trimming the event logs failed; the next attempt is in an hour")
        await asyncio.sleep(EVERY_SECONDS)
