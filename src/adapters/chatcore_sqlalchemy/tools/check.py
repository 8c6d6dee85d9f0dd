"""Looks for faults in what a database holds, and changes nothing."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from chatcore_sqlalchemy.database_url import sqlite_path
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.sqlite.snapshot import snapshot
from chatcore_sqlalchemy.tools.check_rules import OF_POSTGRES, OF_SQLITE, RULES, Rule
from chatcore_sqlalchemy.upgrade import NewerSchema, look

MOST_FAULTS = 20
"""Of one kind, that are told one by one."""

COUNTED = ("users", "chats", "messages", "events")

Found = Callable[[str], None]
"""Gets a line for each fault."""

Tell = Callable[[str, int, int], None]
"""What is looked at next, its number, and of how many."""

_Query = Callable[[str], Awaitable[Sequence[Sequence[Any]]]]


class _Damaged(Exception):
    """The database itself cannot answer."""


async def check_database(url: str, found: Found, tell: Tell) -> dict[str, int]:
    """Look at everything, as it is at one moment, whoever writes to it meanwhile. Returns how
    many rows the tables have.

    Memory does not grow with them: what has to be sorted goes to the disk. Raises CannotOpen,
    also when the schema is not the one of this version.
    """
    path = sqlite_path(url)
    async with _sqlite(path) if path is not None else _postgres(url) as (query, rules):
        for number, rule in enumerate(rules, 1):
            tell(rule.what, number, len(rules))
            await _look(query, rule, found)
        counts = {}
        for table in COUNTED:
            try:
                ((counts[table],),) = await query(f"SELECT count(*) FROM {table}")  # noqa: S608
            except _Damaged as error:
                found(f"cannot count {table}: {error}")
        return counts


async def _look(query: _Query, rule: Rule, found: Found) -> None:
    try:
        rows = await query(f"{rule.query} LIMIT {MOST_FAULTS + 1}")
    except _Damaged as error:
        found(f"cannot look at {rule.what}: {error}")
        return
    for row in rows[:MOST_FAULTS]:
        found(rule.fault.format(*row))
    if len(rows) > MOST_FAULTS:
        found(f"… and more about {rule.what}")


@asynccontextmanager
async def _sqlite(path: Path) -> AsyncIterator[tuple[_Query, Sequence[Rule]]]:
    with snapshot(path) as connection:

        async def query(sql: str) -> Sequence[Sequence[Any]]:
            try:
                return connection.execute(sql).fetchall()
            except sqlite3.Error as error:
                raise _Damaged(str(error)) from error

        engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
        with engine.connect() as looking:
            _expect_this_schema(looking)
            yield query, (*OF_SQLITE, *RULES)


@asynccontextmanager
async def _postgres(url: str) -> AsyncIterator[tuple[_Query, Sequence[Rule]]]:
    # Imported here: only PostgreSQL needs its driver.
    from chatcore_sqlalchemy.postgres.schema import transaction

    async with transaction(url) as connection:
        await connection.exec_driver_sql(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
        )
        await connection.run_sync(_expect_this_schema)

        async def query(sql: str) -> Sequence[Sequence[Any]]:
            return (await connection.exec_driver_sql(sql)).fetchall()

        yield query, (*RULES, *OF_POSTGRES)


def _expect_this_schema(connection: Connection) -> None:
    try:
        found = look(connection)
    except NewerSchema:
        raise CannotOpen("the database is of a newer chatcore") from None
    if found.before != found.after:
        raise CannotOpen(
            f"the database is at revision {found.before}, not {found.after}: "
            "run `chatcore migrate` first"
        )
