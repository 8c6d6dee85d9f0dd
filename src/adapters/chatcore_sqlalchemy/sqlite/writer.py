"""The one connection that writes to a SQLite file.

Several would only wait for each other, and two can corrupt the WAL of every SQLite before 3.51.3
(https://sqlite.org/wal.html, "The WAL-reset bug").
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable

from chatcore_sqlalchemy.group_commit import Append, Change, Outcome, Work
from chatcore_sqlalchemy.sqlite.batch import append_batch
from chatcore_sqlalchemy.sqlite.commit_thread import Locked
from chatcore_sqlalchemy.sqlite.file import SqliteFile
from chatcore_sqlalchemy.sqlite.statement import Rows, run
from chatcore_sqlalchemy.upgrade import Migrated


class SqliteWriter:
    """Holds the file and commits batches to it, as a CommitTarget."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self.migrated: Migrated

    def open(self) -> None:
        self.migrated = self._file.hold()

    def apply(self, batch: Sequence[Work]) -> Sequence[Outcome]:
        if self._connection is None:
            self._connection = self._file.writer()
        try:
            # Not by SQLAlchemy: its transactions cost a tenth of the throughput.
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            # SQLITE_BUSY is the lowest byte of several extended codes.
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise Locked from error
            raise
        return _apply(self._connection, batch)

    def commit(self) -> None:
        if self._connection is not None:
            self._connection.execute("COMMIT")

    def abandon(self) -> None:
        # Closed, because its state is unknown and must not reach the next batch.
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self.abandon()
        self._file.release()


def _apply(connection: sqlite3.Connection, batch: Sequence[Work]) -> Sequence[Outcome]:
    new = [work for work in batch if isinstance(work, Append)]
    appended = iter(append_batch(connection, new) if new else ())
    return [
        next(appended) if isinstance(work, Append) else _apply_change(connection, work)
        for work in batch
    ]


def _apply_change(connection: sqlite3.Connection, change: Change) -> Outcome:
    def run_here(statement: Executable, /, **values: Any) -> Rows:
        return run(connection, statement, values)

    connection.execute("SAVEPOINT change")
    try:
        outcome = change(run_here)
    except sqlite3.Error:
        # The whole transaction is in doubt, not this change alone.
        raise
    except Exception as error:
        outcome = error
        connection.execute("ROLLBACK TO change")
    connection.execute("RELEASE change")
    return outcome
