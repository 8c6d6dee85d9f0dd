"""The schema of a PostgreSQL database: whether it is the one that this version works on, and
making it so.

The service does not migrate it: others, of another version, may be using it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.connection import FAILURES, cannot_open, connect
from chatcore_sqlalchemy.schema import metadata
from chatcore_sqlalchemy.upgrade import Migrated, NewerSchema, look, upgrade

_ENCODING = text("SELECT current_setting('server_encoding')")

# Held by whoever migrates, until the end of the transaction. 0x63686174 is "chat" in ASCII.
_LOCK = text("SELECT pg_advisory_xact_lock(x'63686174'::bigint)")

T = TypeVar("T")


async def check(url: str) -> Migrated:
    """Raises CannotOpen unless the database is there and at the schema of this version."""
    # On a connection as the store has them: a pooler may refuse what is set on those.
    found = await _in_transaction(url, _look, limited=True)
    if found.before is None:
        raise CannotOpen("the database has no tables of chatcore: run `chatcore migrate` first")
    if found.before != found.after:
        raise CannotOpen(
            f"the database is at revision {found.before}, not {found.after}: "
            "run `chatcore migrate` first"
        )
    return found


async def migrate(url: str) -> Migrated:
    """Bring the database to the schema of this version, of any number of simultaneous calls
    one after the other. Raises CannotOpen."""
    # A thread, with an event loop of its own: Alembic knows nothing of those that wait.
    return await asyncio.to_thread(lambda: asyncio.run(_in_transaction(url, migrate_here)))


def migrate_here(connection: Connection) -> Migrated:
    """Do so in the transaction that the connection is in. Raises CannotOpen."""
    connection.execute(_LOCK)
    found = _look(connection)
    if found.before is None and (others := _tables(connection)):
        raise CannotOpen(f"the database has a table of something else: {others[0]}")
    if found.before != found.after:
        upgrade(connection)
    return found


def _look(connection: Connection) -> Migrated:
    encoding = connection.scalar(_ENCODING)
    if encoding != "UTF8":
        raise CannotOpen(f"the database's encoding is {encoding}; it must be UTF8")
    try:
        return look(connection)
    except NewerSchema:
        raise CannotOpen("the database is of a newer chatcore; upgrade to open it") from None


def _tables(connection: Connection) -> list[str]:
    """Those that chatcore would make, if they were not there."""
    return [name for name in metadata.tables if inspect(connection).has_table(name)]


async def _in_transaction(url: str, work: Callable[[Connection], T], *, limited: bool = False) -> T:
    async with transaction(url, limited=limited) as connection:
        return await connection.run_sync(work)


@asynccontextmanager
async def transaction(url: str, *, limited: bool = False) -> AsyncIterator[AsyncConnection]:
    """One that is committed at the end, however long it takes unless it is `limited`. Raises
    CannotOpen."""
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connect(url, limited=limited),
        poolclass=NullPool,
    )
    try:
        async with engine.begin() as connection:
            yield connection
    except (*FAILURES, DBAPIError) as error:
        reason = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise cannot_open(url, reason) from error
