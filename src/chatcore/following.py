"""Follow a user's event log: first the missed events, then the new ones."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Self

from chatcore.events import Cursor, Event, Reset
from chatcore.model import User
from chatcore.ports import Doorbell, EventLog

PAGE = 100
"""The most events in memory for one consumer; the log keeps the rest for a slow one."""

POLL_SECONDS = 5.0


class Following:
    """Yields a user's events after a cursor in ascending order, each once:
    `async for event in following`.

    The iteration never ends by itself; leave it at any time: between two events it holds only a
    page of events. One task at a time may wait for it. Raises Unavailable; the next call then
    continues at the same cursor.
    """

    def __init__(
        self,
        log: EventLog,
        doorbell: Doorbell,
        user: User,
        after: Cursor | None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._log = log
        self._doorbell = doorbell
        self._user = user
        self._cursor = after
        self._poll_seconds = poll_seconds
        self._page: deque[Event] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._page:
            self._page.extend(await self.batch())
        return self._page.popleft()

    async def start(self) -> Cursor:
        """Return where the next batch begins; without a given cursor, the end of the log."""
        if self._cursor is None:
            self._cursor = await self._log.end_of_log(self._user.id)
        return self._cursor

    async def batch(self, seconds: float | None = None) -> Sequence[Event]:
        """Return the next 1 to 100 events; an empty batch after `seconds` without an event."""
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        rung = asyncio.Event()
        # Listen before reading: an event after the read rings.
        unsubscribe = self._doorbell.listen(self._user.id, rung.set)
        try:
            while True:
                rung.clear()
                if events := await self._read():
                    return events
                patience = self._poll_seconds
                if deadline is not None and (left := deadline - loop.time()) < patience:
                    patience = left
                if patience <= 0:
                    return ()
                # A ring can be lost: poll at the latest after `patience`.
                handle = loop.call_later(patience, rung.set)
                try:
                    await rung.wait()
                finally:
                    handle.cancel()
        finally:
            unsubscribe()

    async def _read(self) -> Sequence[Event]:
        events = await self._log.events_after(await self.start(), limit=PAGE)
        if events is None:
            self._cursor = await self._log.end_of_log(self._user.id)
            return (Reset(self._cursor),)
        if events:
            self._cursor = events[-1].cursor
        return events
