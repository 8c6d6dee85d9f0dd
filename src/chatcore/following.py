"""Following a user's log: what was missed, then what happens."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Self

from chatcore.events import Cursor, Event, Reset
from chatcore.model import User
from chatcore.ports import Doorbell, EventLog

PAGE = 100
"""Events held at most for a consumer, however slow: the rest waits in the log."""

POLL_SECONDS = 5.0


class Following:
    """The events of a user after a cursor, in order, each once: `async for event in following`.

    It never ends by itself, and may be left at any time: between two events it holds nothing
    but a page of events. One task at a time may wait for it. Raises Unavailable; then it may
    be asked again, and goes on where it was.
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
        """Where the next batch begins; without a cursor, that is now."""
        if self._cursor is None:
            self._cursor = await self._log.end_of_log(self._user.id)
        return self._cursor

    async def batch(self, seconds: float | None = None) -> Sequence[Event]:
        """The next events, at most 100: at least one, or none after `seconds` without any."""
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        rung = asyncio.Event()
        # Before the log is read: what happens after the reading rings.
        leave = self._doorbell.listen(self._user.id, rung.set)
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
                # A ring can be lost: then this ends by itself.
                handle = loop.call_later(patience, rung.set)
                try:
                    await rung.wait()
                finally:
                    handle.cancel()
        finally:
            leave()

    async def _read(self) -> Sequence[Event]:
        events = await self._log.events_after(await self.start(), limit=PAGE)
        if events is None:
            self._cursor = await self._log.end_of_log(self._user.id)
            return (Reset(self._cursor),)
        if events:
            self._cursor = events[-1].cursor
        return events
