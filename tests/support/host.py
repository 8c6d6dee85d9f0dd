"""A host of chatcore: a program with a database, a table of orders, and an outbox beside it."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any, Protocol

import asyncpg
from sqlalchemy import Engine, MetaData
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateIndex, CreateTable

from chatcore_sqlalchemy.outbox import outbox_table
from chatcore_sqlalchemy.outbox.host import engine_of_host

Execute = Callable[[str], Awaitable[Any]]

OUTBOX = outbox_table(MetaData())


class Host(Protocol):
    url: str
    kind: str

    def transaction(self) -> AbstractAsyncContextManager[Execute]:
        """Run SQL in a transaction that an exception rolls back."""
        ...

    async def rows(self, sql: str) -> list[tuple[Any, ...]]: ...


class SqliteHost:
    """A synchronous host: plain `sqlite3`, plain SQL."""

    kind = "SQLite"

    def __init__(self, file: Path) -> None:
        self.url = f"sqlite:///{file}"
        self._file = file

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Execute]:
        with closing(sqlite3.connect(self._file, timeout=60)) as connection:
            # Power cuts are not part of these tests.
            connection.execute("PRAGMA synchronous = OFF")

            async def execute(sql: str) -> None:
                connection.execute(sql)

            with connection:
                yield execute

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._file, timeout=60)) as connection:
            return connection.execute(sql).fetchall()


class PostgresHost:
    kind = "PostgreSQL"

    def __init__(self, url: str) -> None:
        self.url = url

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Execute]:
        connection = await asyncpg.connect(self.url)
        try:
            async with connection.transaction():
                yield connection.execute
        finally:
            await connection.close()

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.url)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()


async def create_tables(host: Host) -> None:
    """Create the outbox as SQLAlchemy would, and the host's own table `orders`."""
    dialect = engine_of_host_dialect(host)
    async with host.transaction() as execute:
        await execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, buyer TEXT, note TEXT)")
        await execute(str(CreateTable(OUTBOX).compile(dialect=dialect)))
        for index in OUTBOX.indexes:
            await execute(str(CreateIndex(index).compile(dialect=dialect)))


def engine_of_host_dialect(host: Host) -> Any:
    engine: Engine | AsyncEngine = engine_of_host(host.url)
    return engine.dialect


def insert(sender: str, peer: str, text: str) -> str:
    """The plain SQL of a host for one message."""
    return (
        "INSERT INTO chat_outbox (sender, peer, text) "  # noqa: S608
        f"VALUES ('{sender}', '{peer}', '{text}')"
    )


def async_url(url: str) -> str:
    """The URL of SQLAlchemy's asynchronous engine for a URL of PostgreSQL."""
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)
