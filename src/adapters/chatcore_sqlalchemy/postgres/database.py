"""How statements run on PostgreSQL: awaited, on a few connections, appends in groups."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Executable
from sqlalchemy.util import await_only, greenlet_spawn

from chatcore.model import NewMessage, Sent
from chatcore_sqlalchemy.group_commit import GroupCommit, Run, Writes
from chatcore_sqlalchemy.postgres.coalescing import COALESCED, CoalescedLookup
from chatcore_sqlalchemy.postgres.connection import Connection, Row, connect, expect_writable
from chatcore_sqlalchemy.postgres.pool import Pool
from chatcore_sqlalchemy.postgres.schema import check
from chatcore_sqlalchemy.postgres.statement import run
from chatcore_sqlalchemy.postgres.writer import PostgresWriter
from chatcore_sqlalchemy.queries.events import touch
from chatcore_sqlalchemy.upgrade import Migrated

CONNECTIONS = 4
"""For all but the appends, which have one of their own."""

T = TypeVar("T")


class PostgresDatabase:
    """One database on a PostgreSQL server, which other processes use as well."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = Pool(partial(connect, url), CONNECTIONS)
        self._appends = Pool(partial(connect, url), 1)
        self._group = GroupCommit[NewMessage](PostgresWriter(self._appends))
        self._coalesced = {
            statement: CoalescedLookup(partial(self._fetch, query))
            for statement, query in COALESCED.items()
        }
        self.migrated: Migrated

    async def open(self) -> None:
        """Raises CannotOpen unless the database has the schema of this version."""
        self.migrated = await check(self._url)

    async def close(self) -> None:
        """Finish the writes that wait, then let go of the database. May be called again."""
        await self._group.close()
        await self._pool.close()

    @property
    def version(self) -> None:
        """None: others write, too, so nothing tells that all is as it was."""
        return

    @property
    def writes(self) -> Writes:
        """What became of the queue of messages so far."""
        return self._group.writes

    async def read(self, statement: Executable, /, **values: Any) -> Sequence[Row]:
        """All rows that a query returns for these bound values."""
        if (lookup := self._coalesced.get(statement)) is not None:
            (wanted,) = values.values()
            return await lookup.rows(wanted)
        return await self._pool.use(lambda connection: run(connection, statement, values))

    async def _fetch(self, query: str, *values: Any) -> list[Row]:
        return await self._pool.use(lambda connection: connection.fetch(query, *values))

    async def write(self, change: Callable[[Run], T]) -> T:
        """What the change returns, once it is durable, or what it raises, which undoes it."""
        return await self._pool.transact(partial(_apply, change))

    async def check_writes(self) -> None:
        """Raises StoreUnavailable when a write would fail now."""
        if self._group.failing:
            await self._appends.transact(partial(_apply, touch))
            self._group.failing = False
        elif not self._group.busy:
            await self._appends.use(expect_writable)
        await self._pool.use(expect_writable)

    async def append(self, new: NewMessage) -> Sent:
        sent: Sent = await self._group.submit(new)
        return sent


async def _apply(change: Callable[[Run], T], connection: Connection) -> T:
    def run_here(statement: Executable, /, **values: Any) -> list[Row]:
        return await_only(run(connection, statement, values))

    # The change is written as for a database in this process: it awaits nothing. On a stack of
    # its own it can be left where it is until the answer is there.
    return await greenlet_spawn(change, run_here)
