"""Checks and migrates the schema of a PostgreSQL database.

The service only checks it: processes of another version may be using the database.
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

# Held by a migration until the end of its transaction. 0x63686174 is "chat" in ASCII.
_LOCK = text("SELECT pg_advisory_xact_lock(x'63686174'::bigint)")

T = TypeVar("T")


async def check(url: str) -> Migrated:
    """Raise CannotOpen unless the database exists and has the schema of this version."""
    # With the store's own session settings, because a pooler may refuse them.
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
    """Bring the database to the schema of this version. Simultaneous calls take turns. Raises
    CannotOpen."""
    # On a thread with its own event loop, because Alembic blocks.
    return await asyncio.to_thread(lambda: asyncio.run(_in_transaction(url, migrate_here)))


def migrate_here(connection: Connection) -> Migrated:
    """Migrate in the current transaction of the connection. Raises CannotOpen."""
    connection.execute(_LOCK)
    found = _look(connection)
    if found.before is None and (others := _tables(connection)):
        raise CannotOpen(
            f"the database already has a table named {others[0]}, not of chatcore; use an empty one"
        )
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
    """The tables in the database that have the name of a table of chatcore."""
    return [name for name in metadata.tables if inspect(connection).has_table(name)]


async def _in_transaction(url: str, work: Callable[[Connection], T], *, limited: bool = False) -> T:
    async with transaction(url, limited=limited) as connection:
        return await connection.run_sync(work)


@asynccontextmanager
async def transaction(url: str, *, limited: bool = False) -> AsyncIterator[AsyncConnection]:
    """A transaction that commits when the context ends, without time limits unless `limited`.
    Raises CannotOpen."""
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
