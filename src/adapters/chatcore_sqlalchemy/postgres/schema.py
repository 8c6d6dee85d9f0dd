"""Checks and migrates the schema of a PostgreSQL database.

The service only checks it: processes of another version may be using the database.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.connection import FAILURES, Source
from chatcore_sqlalchemy.postgres.place import (
    Place,
    create_schema,
    holds_store,
    move,
    place_of,
    search_path,
)
from chatcore_sqlalchemy.postgres.writable import (
    expect_no_read_only,
    expect_owner,
    expect_rights,
)
from chatcore_sqlalchemy.schema import TABLES
from chatcore_sqlalchemy.upgrade import Migrated, NewerSchema, expect_current, look, upgrade

_ENCODING = text("SELECT current_setting('server_encoding')")

# Held by a migration until the end of its transaction. 0x63686174 is "chat" in ASCII.
_LOCK = text("SELECT pg_advisory_xact_lock(x'63686174'::bigint)")
_LOCKED = text(
    """
    SELECT EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
            AND classid = 0 AND objid = x'63686174'::bigint::oid AND granted
    )
    """
)


async def check(
    source: Source, schema: str | None, *, writable: bool = False
) -> tuple[str, Migrated]:
    """Return the schema of the store, which holds the tables of this version.

    Raises CannotOpen unless it does and, with `writable`, unless a service could write to them.
    """
    # With the store's own session settings, because a pooler may refuse them.
    async with transaction(source, limited=True) as connection:
        return await connection.run_sync(check_here, schema, writable)


def check_here(
    connection: Connection, schema: str | None, writable: bool = False
) -> tuple[str, Migrated]:
    """As `check`, in the transaction of the connection."""
    place = place_of(connection, schema)
    if place.move_from is not None:
        raise CannotOpen(
            f"the tables of chatcore are in the schema {place.move_from}: run `chatcore migrate`, "
            f"which moves them to the schema {place.schema}, or set CHATCORE_SCHEMA="
            f"{place.move_from} to leave them there"
        )
    if writable and holds_store(connection, place.schema):
        expect_no_read_only(connection)
        expect_rights(connection, place.schema)
    found = _look(connection, place.schema)
    if found.before is None:
        raise CannotOpen(
            f"the database has no tables of chatcore in the schema {place.schema}: "
            "run `chatcore migrate` first"
        )
    expect_current(found)
    return place.schema, found


async def migrate(source: Source, schema: str | None) -> Migrated:
    """Bring the tables to the schema of this version. Simultaneous calls take turns. Raises
    CannotOpen."""

    async def migrate_in_transaction() -> Migrated:
        async with transaction(source) as connection:
            return await connection.run_sync(migrate_here, schema)

    # On a thread with its own event loop, because Alembic blocks.
    return await asyncio.to_thread(lambda: asyncio.run(migrate_in_transaction()))


def migrate_here(connection: Connection, schema: str | None) -> Migrated:
    """Migrate in the current transaction of the connection. Raises CannotOpen."""
    connection.execute(_LOCK)
    if not connection.scalar(_LOCKED):
        raise CannotOpen(
            "the connection commits each statement (AUTOCOMMIT); chatcore's migrations need a "
            "transaction"
        )
    place = place_of(connection, schema)
    if place.move_from is not None:
        _look(connection, place.move_from)
        expect_to_change(connection, place.move_from)
        move(connection, place.move_from, place.schema)
    found = _look(connection, place.schema)
    if found.before != found.after:
        expect_to_change(connection, place.schema)
    if found.before is None:
        _expect_room(connection, place)
        create_schema(connection, place.schema)
    if found.before != found.after:
        with search_path(connection, place.schema):
            upgrade(connection)
    return found._replace(moved_from=place.move_from)


def _look(connection: Connection, schema: str) -> Migrated:
    encoding = connection.scalar(_ENCODING)
    if encoding != "UTF8":
        raise CannotOpen(f"the database's encoding is {encoding}; it must be UTF8")
    is_ours = holds_store(connection, schema)
    try:
        found = look(connection, schema)
    except NewerSchema:
        if is_ours:
            raise CannotOpen("the database is of a newer chatcore; upgrade to open it") from None
        found = None
    if found is None or (found.before is not None and not is_ours):
        raise CannotOpen(
            f"the table alembic_version in the schema {schema} is not of chatcore; "
            "choose another schema with CHATCORE_SCHEMA"
        )
    return found


def expect_to_change(connection: Connection, schema: str) -> None:
    """Raise CannotOpen unless the role may change the tables in this schema now."""
    expect_no_read_only(connection)
    expect_owner(connection, schema)


def _expect_room(connection: Connection, place: Place) -> None:
    """Raise CannotOpen if a table of something else has the name of a table of chatcore."""
    inspector = inspect(connection)
    for name in TABLES:
        if inspector.has_table(name, schema=place.schema):
            raise CannotOpen(
                f"the schema {place.schema} already has a table named {name}, not of chatcore; "
                "choose another schema with CHATCORE_SCHEMA"
            )


@asynccontextmanager
async def transaction(source: Source, *, limited: bool = False) -> AsyncIterator[AsyncConnection]:
    """A transaction that commits when the context ends, without time limits unless `limited`.
    Raises CannotOpen."""
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: source.raw(limited=limited),
        poolclass=NullPool,
    )
    try:
        async with engine.begin() as connection:
            yield connection
    except (*FAILURES, DBAPIError) as error:
        reason = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise source.cannot_open(reason) from error
