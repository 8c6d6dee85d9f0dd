"""The kinds of database that the store runs on, by URL scheme or by a host's engine."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from chatcore_sqlalchemy.database import Database
from chatcore_sqlalchemy.database_url import (
    backend_of,
    expect_schema,
    read_postgresql,
    sqlite_file,
    without_driver,
)
from chatcore_sqlalchemy.errors import CannotOpen, Damaged
from chatcore_sqlalchemy.sqlite.database import SqliteDatabase
from chatcore_sqlalchemy.sqlite.read_only import open_read_only
from chatcore_sqlalchemy.upgrade import Migrated, NewerSchema, expect_current, look

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from chatcore_sqlalchemy.postgres.connection import Source
    from chatcore_sqlalchemy.postgres.pooler import Pooler

Query = Callable[[str], Awaitable[Sequence[Sequence[Any]]]]
"""Runs SQL and returns all rows. Raises Damaged when the database itself cannot answer."""


class Adoption(NamedTuple):
    """A database server that is to be accepted in place of the one that the store knows."""

    database: str
    """The name of the database."""
    known: str
    """The server that the store knows, in words."""
    present: str
    """The server that is there, in words."""


class Engine(Protocol):
    """The engine of one database. Every method raises CannotOpen, with one line for the
    operator."""

    @property
    def name(self) -> str: ...

    @property
    def url(self) -> str | None:
        """The URL without the driver that SQLAlchemy's spelling names; None for a host's engine."""
        ...

    @property
    def file(self) -> Path | None:
        """The file that the database is; None for a database on a server."""
        ...

    @property
    def several_processes(self) -> bool:
        """Whether several processes may use the database at the same time."""
        ...

    @property
    def notifies(self) -> bool:
        """Whether the database itself carries rings between processes (NOTIFY). It does not
        through a pooler in transaction mode."""
        ...

    async def open(self, *, writable: bool = False) -> Database:
        """Open the database for the store; with `writable`, only if a service could write to it."""
        ...

    async def migrate(self) -> Migrated:
        """Bring the database to the schema of this version, and release it."""
        ...

    async def adopt(self, confirm: Callable[[Adoption], bool]) -> Adoption | None:
        """Accept the present server in place of the one that the store knows, if `confirm` returns
        True: after an upgrade of PostgreSQL, a restored backup, a move. Event logs get another
        name, so all cursors are void, and the next ids are higher, as in a backup. Returns what was
        accepted, or None. The schema must be that of this version, and no service may run."""
        ...

    def inspect(self) -> AbstractAsyncContextManager[Query]:
        """Read the database as it is at one moment, while services may write to it. Changes
        nothing. The schema must be that of this version."""
        ...


class _Sqlite:
    name = "sqlite"
    several_processes = False
    notifies = False

    def __init__(self, url: str, schema: str | None, pooler: "Pooler | None") -> None:
        if schema is not None:
            raise CannotOpen(
                f"a SQLite file has no schemas, only PostgreSQL has: leave out the schema {schema}"
            )
        if pooler is not None:
            raise CannotOpen(
                "a SQLite file has no pooler, only PostgreSQL may have one: leave out the pooler "
                f"{pooler}"
            )
        self.url = url
        self.file = sqlite_file(url)

    async def open(self, *, writable: bool = False) -> SqliteDatabase:
        # Opening writes to the file in any case.
        database = SqliteDatabase(self.file)
        await database.open()
        return database

    async def migrate(self) -> Migrated:
        database = await self.open()
        await database.close()
        return database.migrated

    async def adopt(self, _: Callable[[Adoption], bool]) -> Adoption | None:
        raise CannotOpen("a SQLite file has no other server to adopt: only PostgreSQL has")

    @asynccontextmanager
    async def inspect(self) -> AsyncIterator[Query]:
        with open_read_only(self.file) as connection:

            async def query(sql: str) -> Sequence[Sequence[Any]]:
                try:
                    return connection.execute(sql).fetchall()
                except sqlite3.Error as error:
                    raise Damaged(str(error)) from error

            engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
            with engine.connect() as wrapped:
                try:
                    expect_current(look(wrapped))
                except NewerSchema:
                    raise CannotOpen("the database is of a newer chatcore") from None
                yield query


class _Postgres:
    """Imports its modules on use: only PostgreSQL needs its driver."""

    name = "postgresql"
    file = None
    several_processes = True

    def __init__(
        self, database: "str | AsyncEngine", schema: str | None, pooler: "Pooler | None"
    ) -> None:
        self.url = database if isinstance(database, str) else None
        if pooler not in {None, "transaction"}:
            raise CannotOpen(f"not a mode of a pooler: {pooler!r:.99}; expected transaction")
        if pooler is not None and self.url is None:
            raise CannotOpen(
                "an engine needs PostgreSQL itself; give the URL of the pooler instead, with "
                f"pooler={pooler!r}"
            )
        if self.url is not None:
            read_postgresql(self.url, writes=False)
        if schema is not None:
            expect_schema(schema)
        self._database = database
        self._schema = schema
        self._pooler = pooler

    @property
    def notifies(self) -> bool:
        return self._pooler is None

    async def open(self, *, writable: bool = False) -> Database:
        with _asyncpg_needed():
            from chatcore_sqlalchemy.postgres.database import PostgresDatabase
        return await PostgresDatabase.open(self._source(), self._schema, writable=writable)

    async def migrate(self) -> Migrated:
        with _asyncpg_needed():
            from chatcore_sqlalchemy.postgres import schema
        return await schema.migrate(self._source(), self._schema)

    async def adopt(self, confirm: Callable[[Adoption], bool]) -> Adoption | None:
        with _asyncpg_needed():
            from chatcore_sqlalchemy.postgres import adoption
        return await adoption.adopt(self._source(), self._schema, confirm)

    @asynccontextmanager
    async def inspect(self) -> AsyncIterator[Query]:
        with _asyncpg_needed():
            from chatcore_sqlalchemy.postgres.place import set_search_path
            from chatcore_sqlalchemy.postgres.schema import check_here, transaction
        async with transaction(self._source(writes=False)) as connection:
            await connection.exec_driver_sql(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
            )
            schema, _ = await connection.run_sync(check_here, self._schema)

            async def query(sql: str) -> Sequence[Sequence[Any]]:
                return (await connection.exec_driver_sql(sql)).fetchall()

            await connection.run_sync(set_search_path, schema)
            yield query

    def _source(self, *, writes: bool = True) -> "Source":
        with _asyncpg_needed():
            from chatcore_sqlalchemy.postgres.connection import UrlSource
            from chatcore_sqlalchemy.postgres.host_engine import EngineSource
        if isinstance(self._database, str):
            return UrlSource(self._database, self._pooler, writes=writes)
        return EngineSource(self._database)


@contextlib.contextmanager
def _asyncpg_needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise CannotOpen(f"PostgreSQL needs chatcore[postgres]: {error}") from error


_ENGINES: dict[str, Callable[[str, str | None, "Pooler | None"], Engine]] = {
    "sqlite": _Sqlite,
    "postgresql": _Postgres,
}


def engine_of(
    database: "str | AsyncEngine", schema: str | None = None, pooler: "Pooler | None" = None
) -> Engine:
    """The engine of a URL like `sqlite:///chatcore.db` or `postgresql://user@host/database`, or of
    a host's AsyncEngine, and of this schema in a PostgreSQL database. With `pooler`, the URL names
    a pooler in that mode.

    Opens nothing. Raises CannotOpen for anything else, with one line that says what to write.
    """
    if isinstance(database, str):
        url = without_driver(database)
        return _ENGINES[backend_of(url)](url, schema, pooler)
    # Imported on use: few programs have an engine, and the import slows a start.
    from sqlalchemy.ext.asyncio import AsyncEngine

    if not isinstance(database, AsyncEngine):
        raise CannotOpen(
            "expected a database URL or an AsyncEngine of SQLAlchemy, not an object of the type "
            f"{type(database).__name__}"
        )
    return _Postgres(database, schema, pooler)


def sqlite_path(url: str) -> Path | None:
    """The file that a `sqlite:///…` URL names; None for a URL of a PostgreSQL database.

    Raises CannotOpen for any other URL, with one line that says what to write.
    """
    return engine_of(url).file
