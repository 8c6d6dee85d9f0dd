"""Runs statements on PostgreSQL: on a few connections, messages through group commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Self, TypeVar

from sqlalchemy import Executable

from chatcore.errors import StoreUnavailable
from chatcore.model import Sent
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.group_commit import Append, GroupCommit, Run, Writes
from chatcore_sqlalchemy.postgres.batch import (
    LEFT_OUT,
    LeftOut,
    StillLocked,
    rehearse,
    waiting_in_bounds,
)
from chatcore_sqlalchemy.postgres.bound import PostgresBoundStore
from chatcore_sqlalchemy.postgres.coalescing import COALESCED, CoalescedLookup
from chatcore_sqlalchemy.postgres.connection import (
    FAILURES,
    Connection,
    Row,
    Source,
    expect_writable,
)
from chatcore_sqlalchemy.postgres.history import History
from chatcore_sqlalchemy.postgres.host_transaction import HostConnections, expect_host_connection
from chatcore_sqlalchemy.postgres.kept_connection import KeptConnection
from chatcore_sqlalchemy.postgres.locked_chats import LockedChats
from chatcore_sqlalchemy.postgres.pool import BEGIN, Pool, take_turn
from chatcore_sqlalchemy.postgres.schema import check
from chatcore_sqlalchemy.postgres.statement import apply, in_schema, run
from chatcore_sqlalchemy.postgres.writable import check_rights
from chatcore_sqlalchemy.postgres.writer import PostgresWriter
from chatcore_sqlalchemy.upgrade import Migrated

CONNECTIONS = 4
"""Connections for everything but messages, which have one of their own, and another one while
transactions hold chats locked."""

WRITES = CONNECTIONS - 1
"""How many of them may write, and so wait for locks: reads never wait for a lock."""

PATIENT_WRITES = WRITES - 1
"""How many writes may wait for long at the same time: a host's transaction may hold users for
seconds, and writes of others need a connection then, too."""

PATIENCE_MILLISECONDS = 100
"""How long a write waits for a lock before it counts among these."""

_BEGIN = f"BEGIN; SET LOCAL lock_timeout = {PATIENCE_MILLISECONDS}"

# `now()` would be the start of the transaction.
_TIME_US = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

T = TypeVar("T")


class PostgresDatabase:
    """A Database in a schema of a PostgreSQL server, which other processes may use too."""

    def __init__(self, source: Source, schema: str, migrated: Migrated) -> None:
        self.schema = schema
        self.migrated = migrated
        self._history = history = History(source, schema)
        self._pool = Pool(self._connect, CONNECTIONS, history)
        self._appends = KeptConnection(history, self._pool)
        self._locked_chats = LockedChats(Pool(self._connect, 1, history), schema)
        writer = PostgresWriter(self._appends, schema, self._locked_chats)
        self._group = GroupCommit[Append](writer)
        self._writes = asyncio.Semaphore(WRITES)
        self._patient_writes = asyncio.Semaphore(PATIENT_WRITES)
        self._coalesced = {
            statement: CoalescedLookup(partial(self._fetch, in_schema(query, schema)))
            for statement, query in COALESCED.items()
        }
        self._host_connections = HostConnections(self._fetch, schema, history)

    @classmethod
    async def open(cls, source: Source, schema: str | None, *, writable: bool = False) -> Self:
        """Open the store in this schema, or in the one that `place_of` finds. Raises CannotOpen
        unless its tables are those of this version, its server continues the history of the store
        and, with `writable`, unless a service could write to them."""
        place, migrated = await check(source, schema, writable=writable)
        database = cls(source, place, migrated)
        try:
            await database._appends.present()
        except FAILURES as error:
            await database.close()
            raise source.cannot_open(error) from error
        except StoreUnavailable as error:
            await database.close()
            raise CannotOpen(f"cannot open the database: {error}") from error
        except BaseException:
            # Else an attempt under way would leave a connection, which is restored for ever.
            await database.close()
            raise
        return database

    async def close(self) -> None:
        await self._group.close()
        await self._locked_chats.close()
        await self._pool.close()

    def on_failover(self, forget: Callable[[], None]) -> None:
        self._history.on_change(forget)

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
        return await self._pool.use(
            lambda connection: run(connection, self.schema, statement, values)
        )

    async def _fetch(self, query: str, *values: Any) -> list[Row]:
        return await self._pool.use(lambda connection: connection.fetch(query, *values))

    async def _connect(self) -> Connection:
        # After the session that appends messages, or reads could take the server's last connection.
        await self._appends.present()
        return await self._history.connect()

    async def write(self, change: Callable[[Run], T]) -> T:
        try:
            return await self._write(partial(_apply_at_once, self.schema, change), begin=_BEGIN)
        except StillLocked:
            await take_turn(self._patient_writes)
        try:
            return await self._write(partial(apply, self.schema, change))
        finally:
            self._patient_writes.release()

    async def _write(self, work: Callable[[Connection], Awaitable[T]], *, begin: str = BEGIN) -> T:
        await take_turn(self._writes)
        try:
            return await self._pool.transact(work, begin=begin)
        finally:
            self._writes.release()

    async def check_writes(self) -> None:
        if self._group.busy:
            # The batch under way has the connection, and its outcome will be the answer.
            if self._group.failing:
                raise StoreUnavailable("the last messages could not be written")
        elif self._group.failing:
            await self._appends.transact(partial(rehearse, schema=self.schema))
            self._group.failing = False
        else:
            await self._appends.use(expect_writable)
        await self._pool.use(expect_writable)
        await self._pool.use(partial(check_rights, schema=self.schema))

    async def time_us(self) -> int:
        ((time_us,),) = await self._fetch(_TIME_US)
        return int(time_us)

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
        return PostgresBoundStore(host, self._host_connections, self.schema, digest_secret)


async def _apply_at_once(schema: str, change: Callable[[Run], T], connection: Connection) -> T:
    with waiting_in_bounds():
        return await apply(schema, change, connection)
