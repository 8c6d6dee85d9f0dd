"""Runs statements on PostgreSQL: on a few connections, messages through group commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Executable

from chatcore.model import Sent
from chatcore_sqlalchemy.group_commit import Append, GroupCommit, Run, Writes
from chatcore_sqlalchemy.postgres.batch import LEFT_OUT, LeftOut
from chatcore_sqlalchemy.postgres.bound import PostgresBoundStore
from chatcore_sqlalchemy.postgres.coalescing import COALESCED, CoalescedLookup
from chatcore_sqlalchemy.postgres.connection import Row, connect, expect_writable
from chatcore_sqlalchemy.postgres.host_transaction import HostConnections, expect_host_connection
from chatcore_sqlalchemy.postgres.locked_chats import LockedChats
from chatcore_sqlalchemy.postgres.pool import Pool, take_turn
from chatcore_sqlalchemy.postgres.schema import check
from chatcore_sqlalchemy.postgres.statement import apply, run
from chatcore_sqlalchemy.postgres.writer import PostgresWriter
from chatcore_sqlalchemy.queries.events import touch
from chatcore_sqlalchemy.upgrade import Migrated

CONNECTIONS = 4
"""Connections for everything but messages, which have one of their own, and another one while
transactions hold chats locked."""

WRITES = CONNECTIONS - 1
"""How many of them may write, and so wait for locks: reads never wait for a lock."""

T = TypeVar("T")


class PostgresDatabase:
    """A Database on a PostgreSQL server, which other processes may use too."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = Pool(partial(connect, url), CONNECTIONS)
        self._appends = Pool(partial(connect, url), 1)
        self._locked_chats = LockedChats(Pool(partial(connect, url), 1))
        self._group = GroupCommit[Append](PostgresWriter(self._appends, self._locked_chats))
        self._writes = asyncio.Semaphore(WRITES)
        self._coalesced = {
            statement: CoalescedLookup(partial(self._fetch, query))
            for statement, query in COALESCED.items()
        }
        self._host_connections = HostConnections(self._fetch)
        self.migrated: Migrated

    async def open(self) -> None:
        """Check the schema. Raises CannotOpen unless it is that of this version."""
        self.migrated = await check(self._url)

    async def close(self) -> None:
        await self._group.close()
        await self._locked_chats.close()
        await self._pool.close()

    @property
    def version(self) -> None:
        """Always None: other processes write too, so no number could say that nothing changed."""
        return

    @property
    def writes(self) -> Writes:
        return self._group.writes

    async def read(self, statement: Executable, /, **values: Any) -> Sequence[Row]:
        if (lookup := self._coalesced.get(statement)) is not None:
            (wanted,) = values.values()
            return await lookup.rows(wanted)
        return await self._pool.use(lambda connection: run(connection, statement, values))

    async def _fetch(self, query: str, *values: Any) -> list[Row]:
        return await self._pool.use(lambda connection: connection.fetch(query, *values))

    async def write(self, change: Callable[[Run], T]) -> T:
        await take_turn(self._writes)
        try:
            return await self._pool.transact(partial(apply, change))
        finally:
            self._writes.release()

    async def check_writes(self) -> None:
        if self._group.failing:
            await self._appends.transact(partial(apply, touch))
            self._group.failing = False
        elif not self._group.busy:
            await self._appends.use(expect_writable)
        await self._pool.use(expect_writable)

    async def append(self, append: Append) -> Sent:
        if append.message.chat_id not in self._locked_chats:
            outcome: Sent | LeftOut = await self._group.submit(append)
            if outcome is not LEFT_OUT:
                return outcome
        return await self._locked_chats.append(append)

    def bound(
        self, connection: object, digest_secret: Callable[[], Awaitable[bytes]]
    ) -> PostgresBoundStore:
        host = expect_host_connection(connection)
        return PostgresBoundStore(host, self._host_connections, digest_secret)
