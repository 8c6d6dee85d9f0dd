"""Copies a SQLite file into a PostgreSQL database, with the same ids and cursors."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Table

from chatcore_sqlalchemy.database_url import expect_schema
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.connection import UrlSource
from chatcore_sqlalchemy.postgres.place import set_search_path
from chatcore_sqlalchemy.postgres.pooler import Pooler
from chatcore_sqlalchemy.postgres.schema import check_here, migrate_here, transaction
from chatcore_sqlalchemy.schema import COPIED, OF_SERVER
from chatcore_sqlalchemy.sqlite.file import SqliteFile

PIECE = 5_000
"""How many rows are copied or compared at a time."""

Progress = Callable[[str, int, int], None]
"""Takes the current step, how many of its rows are done, and how many it has."""


class Copied(NamedTuple):
    rows: dict[str, int]
    """The number of rows of each table, equal on both sides."""
    before: bool
    """Whether an earlier run had copied them, so that this one only compared them."""


async def copy(
    source: Path,
    url: str,
    progress: Progress,
    *,
    schema: str | None = None,
    pooler: Pooler | None = None,
) -> Copied:
    """Copy the tables of the file to the database in one transaction, so that an interruption
    leaves the database unchanged. At the end every row is read back and compared.

    Both schemas are migrated to this version. Raises CannotOpen, also while a service holds the
    file, and when the database holds any data but an earlier copy of the file.
    """
    with _opened(source) as file:
        async with transaction(_server(url, schema, pooler)) as target:
            await target.run_sync(migrate_here, schema)
            place, _ = await target.run_sync(check_here, schema)
            await target.run_sync(set_search_path, place)
            driver: Any = (await target.get_raw_connection()).driver_connection
            # Other sessions can read, and wait to write.
            names = ", ".join(table.name for table in COPIED)
            await driver.execute(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
            before = await _holds_any(driver)
            if before and await driver.fetchval(_LOG) != _value(file, _LOG):
                raise CannotOpen("the database to copy to holds other data; use an empty one")
            if not before:
                await _copy_all(file, driver, progress)
            return Copied({table.name: await _compare(file, driver, table, progress)
                           for table in COPIED}, before)  # fmt: skip


# Names a store from its first migration on, so it identifies an earlier copy.
_LOG = "SELECT log FROM store"


def _server(url: str, schema: str | None, pooler: Pooler | None) -> UrlSource:
    source = UrlSource(url, pooler)
    if schema is not None:
        expect_schema(schema)
    return source


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise CannotOpen(f"there is no file {path}")
    file = SqliteFile(path)
    try:
        file.hold()
        with contextlib.closing(file.reader()) as connection:
            yield connection
    except sqlite3.Error as error:
        raise CannotOpen(f"cannot read {file}: {error}") from error
    finally:
        file.release()


async def _holds_any(driver: Any) -> bool:
    """Whether any table has a row, but for `store`, whose row comes with the schema."""
    tables = [table.name for table in COPIED if table.name != "store"]
    any_row = " UNION ALL ".join(f"(SELECT 1 FROM {name} LIMIT 1)" for name in tables)  # noqa: S608
    return await driver.fetchval(any_row) is not None


async def _copy_all(file: sqlite3.Connection, driver: Any, progress: Progress) -> None:
    await driver.execute("DELETE FROM store")
    for table in COPIED:
        columns = _copied(table)
        total, done = _count(file, table), 0
        rows = file.execute(_ordered(table))
        while piece := rows.fetchmany(PIECE):
            await driver.copy_records_to_table(table.name, records=piece, columns=columns)
            done += len(piece)
            progress(f"copying {table.name}", done, total)
    for name in ("users", "chats"):
        # An id is never given twice, even if its row was deleted.
        given = "SELECT max(seq) FROM sqlite_sequence WHERE name = ?"
        if (newest := _value(file, given, name)) is not None:
            await driver.execute(
                "SELECT setval(pg_get_serial_sequence($1, 'id'), $2)", name, newest
            )
    # Give the planner the new sizes of the tables.
    await driver.execute(f"ANALYZE {', '.join(table.name for table in COPIED)}")


async def _compare(file: sqlite3.Connection, driver: Any, table: Table, progress: Progress) -> int:
    """Count the rows of the table. Raises CannotOpen unless both sides have the same rows."""
    total, done = _count(file, table), 0
    source = file.execute(_ordered(table))
    async for piece in _pieces(driver, table):
        if source.fetchmany(len(piece)) != piece:
            raise CannotOpen(f"the copy of {table.name} differs, after the first {done:,} rows")
        done += len(piece)
        progress(f"comparing {table.name}", done, total)
    if done != total:
        raise CannotOpen(f"the copy of {table.name} has {done:,} rows, not {total:,}")
    return done


async def _pieces(driver: Any, table: Table) -> AsyncIterator[list[tuple[Any, ...]]]:
    # In SQL: asyncpg's own cursors leave a prepared statement, also in a session of a pooler.
    cursor = f"rows_of_{table.name}"
    await driver.execute(f"DECLARE {cursor} CURSOR FOR {_ordered(table)}")
    while rows := await driver.fetch(f"FETCH {PIECE} FROM {cursor}"):
        yield list(map(tuple, rows))


def _copied(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.info != OF_SERVER]


def _ordered(table: Table) -> str:
    columns = ", ".join(_copied(table))
    key = ", ".join(column.name for column in table.primary_key)
    return f"SELECT {columns} FROM {table.name} ORDER BY {key}"  # noqa: S608


def _count(file: sqlite3.Connection, table: Table) -> int:
    return int(_value(file, f"SELECT count(*) FROM {table.name}"))  # noqa: S608


def _value(file: sqlite3.Connection, query: str, *values: object) -> Any:
    found: Sequence[Any] = file.execute(query, values).fetchone()
    return found[0]
