"""Runs SQLAlchemy's statements on the sqlite3 module's own connection.

SQLAlchemy compiles each statement once; its connection and result would more than double the cost
of a page of messages.
"""

import functools
import sqlite3
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.dialects.sqlite import dialect

from chatcore_sqlalchemy.schema import IN_FILE

Rows = list[tuple[Any, ...]]

# Named parameters, so that the driver takes the dictionary unchanged.
_DIALECT = dialect(paramstyle="named")


def run(connection: sqlite3.Connection, statement: Executable, values: Mapping[str, Any]) -> Rows:
    """Run the statement and return all rows. Compiled statements are cached for ever; only the
    constants of `queries` may be passed, so they are few."""
    sql, constants = sql_of(statement)
    return connection.execute(sql, {**constants, **values}).fetchall()


@functools.cache
def sql_of(statement: Executable) -> tuple[str, Mapping[str, Any]]:
    """The SQL of the statement, and the values that it brings itself."""
    compiled = statement.compile(  # type: ignore[attr-defined]
        dialect=_DIALECT, schema_translate_map=IN_FILE, render_schema_translate=True
    )
    return str(compiled), {
        name: value for name, value in compiled.params.items() if value is not None
    }
