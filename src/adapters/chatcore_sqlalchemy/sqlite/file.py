"""One SQLite file: its lock, its mark as chatcore's, its schema, its connections."""

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.upgrade import Migrated, NewerSchema, create, look, upgrade

APPLICATION_ID = 0x63686174
"""Marks a SQLite file as chatcore's: "chat" in ASCII, in SQLite's header field for this
(https://sqlite.org/pragma.html#pragma_application_id)."""

BUSY_TIMEOUT = 2.0
"""How long opening waits for another program that writes to the file, in seconds."""


class SqliteFile:
    """A database file that one process at a time holds. Its `str` is the path in one line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def __str__(self) -> str:
        return _in_one_line(self._path)

    def hold(self) -> Migrated:
        """Lock the file, create it if it is missing, and migrate it. Raises CannotOpen."""
        if sqlite3.sqlite_version_info < (3, 37):
            raise CannotOpen(f"SQLite 3.37 or later is needed, not {sqlite3.sqlite_version}")
        with self._cannot_open_in_one_line():
            # Resolved, so that all names of one file lead to one lock.
            self._path = self._path.resolve()
            if not self._path.parent.is_dir():
                folder = _in_one_line(self._path.parent)
                raise CannotOpen(f"cannot open {self}: {folder} is not a folder")
            if self._path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "Is a directory")
            self._take_lock()
            # Not created by SQLite, so that other users of the machine can never read it; SQLite
            # gives its journal files the mode of the database.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            with contextlib.closing(self._connect(busy_timeout=BUSY_TIMEOUT)) as connection:
                self._claim(connection)
                return self._migrate(connection)

    def release(self) -> None:
        """Unlock the file. No connection to it may be open."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def reader(self) -> sqlite3.Connection:
        """Connect to the held file for reading. Raises CannotOpen."""
        with self._cannot_open_in_one_line():
            # It reads on the event loop, so it must not wait, and in WAL mode readers never do.
            connection = self._connect(busy_timeout=0)
            connection.execute("PRAGMA query_only = ON")
            return connection

    def writer(self) -> sqlite3.Connection:
        """Connect to the held file for writing, on one thread at a time. The connection does not
        wait for other programs either."""
        return self._connect(busy_timeout=0, check_same_thread=False)

    def is_on_read_only_disk(self) -> bool:
        """Whether the file system is mounted read-only, or fails to say."""
        try:
            return bool(os.statvfs(self._path).f_flag & os.ST_RDONLY)
        except OSError:
            return True

    def _take_lock(self) -> None:
        self._lock = os.open(f"{self._path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Not on the database itself: closing any descriptor of that file would drop the
            # locks that SQLite holds on it (https://sqlite.org/howtocorrupt.html, 2.2).
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotOpen(
                f"{self} is in use by another process: stop that one first, or use PostgreSQL, "
                "which serves several"
            ) from None

    def _connect(
        self, busy_timeout: float, *, check_same_thread: bool = True
    ) -> sqlite3.Connection:
        connection = sqlite3.connect(
            # Never create the file: if it was removed, the service must not start an empty one.
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=busy_timeout,
            # The module's own BEGIN is late and deferred, and a deferred transaction that turns to
            # writing fails instead of waiting.
            isolation_level=None,
            check_same_thread=check_same_thread,
        )
        for pragma in (
            "synchronous = FULL",
            "fullfsync = ON",  # On macOS alone, fsync leaves data in the drive's own memory.
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _claim(self, connection: sqlite3.Connection) -> None:
        # Checked before any change: the file may belong to another program.
        [tables] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        [owner] = connection.execute("PRAGMA application_id").fetchone()
        if owner != APPLICATION_ID and (owner or tables):
            raise CannotOpen(
                f"{self} is not a chatcore database; chatcore needs a file of its own, for example "
                "sqlite:///chatcore.db"
            )
        [journal] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if journal != "wal":
            raise CannotOpen(
                f"cannot open {self}: its file system has no shared memory for SQLite's WAL"
            )

    def _migrate(self, connection: sqlite3.Connection) -> Migrated:
        engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
        with engine.connect() as transaction:
            transaction.exec_driver_sql("BEGIN IMMEDIATE")
            transaction.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
            try:
                migrated = look(transaction)
            except NewerSchema:
                raise CannotOpen(f"{self} is of a newer chatcore; upgrade to open it") from None
            if migrated.before is None:
                create(transaction)
            elif migrated.before != migrated.after:
                upgrade(transaction)
            transaction.exec_driver_sql("COMMIT")
        return migrated

    @contextlib.contextmanager
    def _cannot_open_in_one_line(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, sqlite3.Error, DBAPIError) as error:
            # RuntimeError is for a loop of symbolic links before Python 3.13.
            reason: object = error
            if isinstance(error, OSError):
                reason = error.strerror
            elif isinstance(error, DBAPIError):
                reason = error.orig
            raise CannotOpen(f"cannot open {self}: {reason}") from error


def _in_one_line(path: Path) -> str:
    text = str(path)
    return text if text.isprintable() else repr(text)
