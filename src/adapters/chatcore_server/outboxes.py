"""The outbox in a host's database that the settings name."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chatcore import Messenger
from chatcore_server.database import as_cannot_start
from chatcore_server.settings import CannotStart, Settings
from chatcore_sqlalchemy.outbox import OpenTable, Outbox, open_table

AGAIN_SECONDS = 60.0
"""Delay after a failure that is no outage."""

logger = logging.getLogger("chatcore")


@asynccontextmanager
async def open_host(settings: Settings) -> AsyncIterator[OpenTable]:
    """Yield the table of the outbox. Nothing is read yet. Raises CannotStart, also in place of a
    CannotOpen of the context."""
    if settings.outbox_url is None:
        raise CannotStart(
            "CHATCORE_OUTBOX_URL is missing: set it to the database that has the outbox"
        )
    with as_cannot_start():
        async with open_table(settings.outbox_url, settings.outbox_table) as opened:
            yield opened


@asynccontextmanager
async def draining(settings: Settings, messenger: Messenger) -> AsyncIterator[None]:
    """Within this context, drain the outbox. Raises CannotStart."""
    async with open_host(settings) as (engine, table):
        task = asyncio.create_task(_drain_repeatedly(Outbox(engine, table, messenger)))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


async def _drain_repeatedly(outbox: Outbox) -> None:
    while True:
        try:
            await outbox.run()
        except Exception:
            logger.exception("draining the outbox failed; the next attempt is in a minute")
        await asyncio.sleep(AGAIN_SECONDS)
