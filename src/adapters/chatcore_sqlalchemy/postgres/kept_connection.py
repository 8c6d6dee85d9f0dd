"""The connection that appends messages: made first, and again as soon as it is lost."""

import asyncio
import contextlib

from chatcore.errors import StoreUnavailable
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.connection import FAILURES, Connection, finds_no_room
from chatcore_sqlalchemy.postgres.history import History
from chatcore_sqlalchemy.postgres.pool import Pool

RESTORE_SECONDS = 1.0
"""How long to wait after an attempt that failed."""


class KeptConnection(Pool):
    """A Pool of one connection. It is restored in the background when it is lost; where the server
    has no room for it, `readers` give one of theirs."""

    def __init__(self, history: History, readers: Pool) -> None:
        super().__init__(self._connect_watched, 1, history)
        self._readers = readers
        self._attempt_under_way: asyncio.Task[None] | None = None
        self._restoring: asyncio.Task[None] | None = None

    async def present(self) -> None:
        """Return once the connection is there. Simultaneous calls share one attempt to make it.
        Raises one of FAILURES, CannotOpen, or StoreUnavailable."""
        if any(not connection.is_closed() for connection in (*self._used, *self._idle)):
            return
        attempt = self._attempt_under_way
        if attempt is None:
            attempt = self._attempt_under_way = asyncio.create_task(self._connect_anew())
            attempt.add_done_callback(self._attempted)
        # Shielded: other callers may wait for the same attempt.
        await asyncio.shield(attempt)

    async def close(self) -> None:
        await super().close()
        if self._restoring is not None:
            self._restoring.cancel()

    async def _make(self) -> Connection:
        while not self._idle:
            # What an attempt makes may be lost before its callers run.
            await self.present()
        return self._idle.pop()

    async def _connect_watched(self) -> Connection:
        connection = await self._history.connect()
        connection.add_termination_listener(self._lost)
        return connection

    async def _connect_anew(self) -> None:
        try:
            connection = await self._connect()
        except FAILURES as failure:
            given = await self._readers.give() if finds_no_room(failure) else None
            if given is None:
                raise
            if not self._history.usable(given):
                # Another server took over since `readers` gave it.
                given.terminate()
                raise
            given.add_termination_listener(self._lost)
            connection = given
        if self._closed:
            connection.terminate()
            raise StoreUnavailable("the store is closed")
        self._forget_idle()
        self._idle.append(connection)

    def _attempted(self, attempt: asyncio.Task[None]) -> None:
        self._attempt_under_way = None
        if not attempt.cancelled():
            # Retrieved here, because every caller may have been cancelled.
            attempt.exception()

    def _lost(self, _: object) -> None:
        if not self._closed and self._restoring is None:
            self._restoring = asyncio.create_task(self._restore_it())

    async def _restore_it(self) -> None:
        try:
            while not self._closed:
                with contextlib.suppress(*FAILURES, CannotOpen, StoreUnavailable):
                    await self.present()
                    return
                await asyncio.sleep(RESTORE_SECONDS)
        finally:
            self._restoring = None
