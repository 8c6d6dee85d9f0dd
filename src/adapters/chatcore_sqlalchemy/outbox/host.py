"""The database of a host: its engine, and transactions on it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, MetaData, Table, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from chatcore.errors import StoreUnavailable
from chatcore_sqlalchemy.database_url import sqlite_file
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.outbox.table import outbox_table

T = TypeVar("T")

PING = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 0}
"""One connection, replaced if the server has closed it."""


class OpenTable(NamedTuple):
    """The table of an outbox, and an engine of its database."""

    engine: Engine | AsyncEngine
    table: Table


@asynccontextmanager
async def open_table(url: str, name: str) -> AsyncIterator[OpenTable]:
    """Yield the outbox `table` or `schema.table` of the database that `engine_of_host` finds, and
    release the database at the end. Reads nothing. Raises CannotOpen."""
    schema, _, table = name.rpartition(".")
    engine = engine_of_host(url)
    try:
        yield OpenTable(engine, outbox_table(MetaData(), table, schema or None))
    finally:
        if isinstance(engine, AsyncEngine):
            await engine.dispose()
        else:
            await asyncio.to_thread(engine.dispose)


def engine_of_host(url: str) -> Engine | AsyncEngine:
    """The engine of a host's database: `sqlite:///…` and `postgresql://…` as chatcore's own, or any
    other URL of SQLAlchemy, whose driver must be installed.

    Opens nothing. Raises CannotOpen, with one line that says what to write or to install.
    """
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        file = sqlite_file(url)
        if not file.exists():
            raise CannotOpen(f"there is no database {file}")
        engine = create_engine(url)
        event.listen(engine, "connect", _accept_any_bytes)
        return engine
    try:
        if scheme in {"postgresql", "postgres"}:
            from chatcore_sqlalchemy.postgres.connection import UrlSource

            source = UrlSource(url)
            return create_async_engine(
                "postgresql+asyncpg://",
                async_creator=lambda: source.raw(limited=False),
                **PING,
            )
        parsed = make_url(url)
        if parsed.get_dialect().is_async:
            return create_async_engine(parsed, pool_pre_ping=True)
        return create_engine(parsed, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise CannotOpen(
            f"the outbox's database needs the Python module {error.name}, which is not installed"
        ) from error
    except NoSuchModuleError:
        raise CannotOpen(f"SQLAlchemy knows no database {scheme}://") from None
    except (ArgumentError, ValueError):
        # The reason may quote the URL, which may hold a password.
        raise CannotOpen(
            "the URL of the outbox's database is not valid; expected for example "
            "sqlite:///shop.db, postgresql://user:password@host/shop or "
            "mysql+pymysql://user:password@host/shop"
        ) from None


def _accept_any_bytes(connection: Any, _record: object) -> None:
    # SQLite keeps texts that are not UTF-8. One such row must be refused, not stop all rows.
    connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")


async def in_transaction(engine: Engine | AsyncEngine, work: Callable[[Connection], T]) -> T:
    """Run the work in a transaction, that of a synchronous engine on a thread. Raises
    StoreUnavailable."""
    try:
        if isinstance(engine, AsyncEngine):
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        return await asyncio.to_thread(_in_transaction, engine, work)
    # While they connect, drivers raise errors of their own kinds.
    except Exception as error:
        raise StoreUnavailable(f"the outbox's database failed: {_reason(error)}") from error


def _in_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _reason(error: Exception) -> str:
    """The first line of the driver's own words: SQLAlchemy's quote the values of rows."""
    original = getattr(error, "orig", None) or error
    return next(iter(str(original).splitlines()), "") or type(original).__name__
