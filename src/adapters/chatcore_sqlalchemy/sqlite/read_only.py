"""Reads a SQLite file as it is at one moment, while a service may write to it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.sqlite.file import APPLICATION_ID, SqliteFile

BUSY_SECONDS = 5.0


@contextlib.contextmanager
def open_read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a connection in a read transaction. A service may hold the file, start and stop: in WAL
    mode, readers and writers never wait for each other. The WAL grows until the context ends.

    Neither the data nor the schema change. Raises CannotOpen.
    """
    with contextlib.closing(_connect(path)) as connection:
        try:
            connection.execute("BEGIN")
            # The first statement that reads takes the snapshot.
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            [owner] = connection.execute("PRAGMA application_id").fetchone()
        except sqlite3.Error as error:
            raise CannotOpen(f"cannot read {SqliteFile(path)}: {error}") from error
        if owner != APPLICATION_ID:
            raise CannotOpen(f"{SqliteFile(path)} is not a chatcore database")
        yield connection


def _connect(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise CannotOpen(f"there is no file {SqliteFile(path)}")
    try:
        # Read-only, so it never checkpoints: two connections that do so can corrupt the file
        # (https://sqlite.org/wal.html, "The WAL-reset bug").
        return sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
        )
    except sqlite3.Error as error:
        raise CannotOpen(f"cannot open {SqliteFile(path)}: {error}") from error
