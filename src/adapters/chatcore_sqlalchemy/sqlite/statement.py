"""Runs SQLAlchemy's statements on the sqlite3 module's own connection.

SQLAlchemy compiles them, once; its connection and result would more than double what a page
of messages costs.
"""

import functools
import sqlite3
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.dialects.sqlite import dialect

Rows = list[tuple[Any, ...]]

# Named, so that a dictionary can be handed on as it is.
_DIALECT = dialect(paramstyle="named")


def run(connection: sqlite3.Connection, statement: Executable, values: Mapping[str, Any]) -> Rows:
    """All rows that the statement returns. There are as many statements as there are constants
    in `queries`: each is kept in its compiled form for ever."""
    sql, constants = _compiled(statement)
    return connection.execute(sql, {**constants, **values}).fetchall()


@functools.cache
def _compiled(statement: Executable) -> tuple[str, Mapping[str, Any]]:
    compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    return str(compiled), {
        name: value for name, value in compiled.params.items() if value is not None
    }
