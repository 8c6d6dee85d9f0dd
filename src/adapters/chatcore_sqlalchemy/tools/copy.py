"""Moves all that a SQLite file holds into a PostgreSQL database, with the same ids and cursors."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Table

from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.schema import migrate_here, transaction
from chatcore_sqlalchemy.schema import metadata
from chatcore_sqlalchemy.sqlite.file import SqliteFile

PIECE = 5_000
"""Rows at a time."""

Tell = Callable[[str, int, int], None]
"""What is being done, how many rows of it are done, and of how many."""


class Copied(NamedTuple):
    rows: dict[str, int]
    """How many each table has, on both sides."""
    before: bool
    """They were there already."""


async def copy(source: Path, url: str, tell: Tell) -> Copied:
    """Copy the tables of the file to the database, in one transaction: whatever interrupts it
    leaves the database as it was. At the end every row is read back and compared.

    The schema of both is brought to this version. Raises CannotOpen: also while a service uses
    the file, and when the database holds anything but what this would make of it.
    """
    with _opened(source) as file:
        async with transaction(url) as target:
            await target.run_sync(migrate_here)
            driver: Any = (await target.get_raw_connection()).driver_connection
            # Whoever uses it already can read, and waits to write.
            names = ", ".join(metadata.tables)
            await driver.execute(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
            before = await _holds_any(driver)
            if before and await driver.fetchval(_LOG) != _value(file, _LOG):
                raise CannotOpen("the database to copy to holds something else")
            if not before:
                await _copy_all(file, driver, tell)
            return Copied({table.name: await _compare(file, driver, table, tell)
                           for table in metadata.sorted_tables}, before)  # fmt: skip


# Names what a store holds, from its first migration on.
_LOG = "SELECT log FROM store"


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
    """Of what users and their services write; a row of `store` comes with the schema."""
    tables = [name for name in metadata.tables if name != "store"]
    some = " UNION ALL ".join(f"(SELECT 1 FROM {name} LIMIT 1)" for name in tables)  # noqa: S608
    return await driver.fetchval(some) is not None


async def _copy_all(file: sqlite3.Connection, driver: Any, tell: Tell) -> None:
    await driver.execute("DELETE FROM store")
    for table in metadata.sorted_tables:
        columns = [column.name for column in table.columns]
        total, done = _count(file, table), 0
        rows = file.execute(_ordered(table))
        while piece := rows.fetchmany(PIECE):
            await driver.copy_records_to_table(table.name, records=piece, columns=columns)
            done += len(piece)
            tell(f"copying {table.name}", done, total)
    for name in ("users", "chats"):
        # Ids that were given once are given to nobody else, whatever became of their rows.
        given = "SELECT max(seq) FROM sqlite_sequence WHERE name = ?"
        if (newest := _value(file, given, name)) is not None:
            await driver.execute(
                "SELECT setval(pg_get_serial_sequence($1, 'id'), $2)", name, newest
            )
    # How much there is now, for whoever plans statements.
    await driver.execute("ANALYZE")


async def _compare(file: sqlite3.Connection, driver: Any, table: Table, tell: Tell) -> int:
    """Raises CannotOpen unless the table has the same rows here and there. Returns how many."""
    total, done = _count(file, table), 0
    ours = file.execute(_ordered(table))
    async for piece in _pieces(driver, _ordered(table)):
        if ours.fetchmany(len(piece)) != piece:
            raise CannotOpen(f"the copy of {table.name} differs, after the first {done:,} rows")
        done += len(piece)
        tell(f"comparing {table.name}", done, total)
    if done != total:
        raise CannotOpen(f"the copy of {table.name} has {done:,} rows, not {total:,}")
    return done


async def _pieces(driver: Any, query: str) -> AsyncIterator[list[tuple[Any, ...]]]:
    cursor = await driver.cursor(query)
    while rows := await cursor.fetch(PIECE):
        yield list(map(tuple, rows))


def _ordered(table: Table) -> str:
    columns = ", ".join(column.name for column in table.columns)
    key = ", ".join(column.name for column in table.primary_key)
    return f"SELECT {columns} FROM {table.name} ORDER BY {key}"  # noqa: S608


def _count(file: sqlite3.Connection, table: Table) -> int:
    return int(_value(file, f"SELECT count(*) FROM {table.name}"))  # noqa: S608


def _value(file: sqlite3.Connection, query: str, *values: object) -> Any:
    found: Sequence[Any] = file.execute(query, values).fetchone()
    return found[0]
