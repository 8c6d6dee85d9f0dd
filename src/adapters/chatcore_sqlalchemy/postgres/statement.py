"""Runs SQLAlchemy's statements on asyncpg's own connection, which prepares each once.

SQLAlchemy compiles each statement once; its connection and result would double the cost of a page.
Every table is named with its schema, so that no `search_path` can lead to a table of a host.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.util import await_only, greenlet_spawn

from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.postgres.connection import Connection, Row
from chatcore_sqlalchemy.postgres.variants import ON_POSTGRESQL
from chatcore_sqlalchemy.schema import DEFAULT_SCHEMA

_DIALECT = dialect()  # type: ignore[no-untyped-call]

T = TypeVar("T")


async def run(
    connection: Connection, schema: str, statement: Executable, values: Mapping[str, Any]
) -> list[Row]:
    """Run the statement on the tables of the schema and return all rows. Compiled statements are
    cached for ever; only the constants of `queries` may be passed, so they are few."""
    sql, in_order = _compiled(statement, schema)
    return await connection.fetch(sql, *in_order(values))


async def apply(schema: str, change: Callable[[Run], T], connection: Connection) -> T:
    """Run the change on the tables of the schema, in the transaction of the connection. Raises what
    the change raises."""

    def run_here(statement: Executable, /, **values: Any) -> list[Row]:
        return await_only(run(connection, schema, statement, values))

    # The change awaits nothing, because it is written for both databases. On a greenlet of its
    # own it can pause until the server answers.
    return await greenlet_spawn(change, run_here)


@functools.cache
def in_schema(sql: str, schema: str) -> str:
    """The SQL with the quoted name of the schema for each `{schema}`."""
    return sql.format(schema=quoted(schema))


def quoted(name: str) -> str:
    """The name as an identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


@functools.cache
def _compiled(
    statement: Executable, schema: str
) -> tuple[str, Callable[[Mapping[str, Any]], Sequence[Any]]]:
    statement = ON_POSTGRESQL.get(statement, statement)
    compiled = statement.compile(  # type: ignore[attr-defined]
        dialect=_DIALECT,
        schema_translate_map={DEFAULT_SCHEMA: schema},
        render_schema_translate=True,
    )
    names = compiled.positiontup or ()
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    if not constants:
        return str(compiled), lambda values: [values[name] for name in names]
    return str(compiled), lambda values: [{**constants, **values}[name] for name in names]
