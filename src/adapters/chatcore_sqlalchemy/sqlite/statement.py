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

Rows = list[tuple[Any, ...]]

# Named parameters, so that the driver takes the dictionary unchanged.
_DIALECT = dialect(paramstyle="named")


def run(connection: sqlite3.Connection, statement: Executable, values: Mapping[str, Any]) -> Rows:
    """Run the statement and return all rows. Compiled statements are cached for ever; only the
    constants of `queries` may be passed, so they are few."""
    sql, constants = _compiled(statement)
    return connection.execute(sql, {**constants, **values}).fetchall()


@functools.cache
def _compiled(statement: Executable) -> tuple[str, Mapping[str, Any]]:
    compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    return str(compiled), {
        name: value for name, value in compiled.params.items() if value is not None
    }
