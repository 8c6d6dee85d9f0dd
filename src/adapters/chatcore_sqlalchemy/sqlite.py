"""How statements run on SQLite: reads on the event loop, writes committed in groups.

A page read from a database in this process takes some 20 µs, less than handing it to a
thread; a commit waits for the disk, so it has a thread of its own. There is one writing
connection: writers would only wait for each other, and two of them can corrupt the WAL of
every SQLite before 3.51.3 (https://sqlite.org/wal.html, "The WAL-reset bug").
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Executable, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from chatcore.errors import Refused, StoreUnavailable
from chatcore.model import NewMessage, Sent
from chatcore_sqlalchemy.group_commit import Change, GroupCommit, Outcome, Work
from chatcore_sqlalchemy.migrate import NewerSchema, upgrade
from chatcore_sqlalchemy.sqlite_batch import append_batch

Prepared = Callable[..., Awaitable[Sequence[tuple[Any, ...]]]]
"""A query, compiled once: takes its bound parameters by name, returns all rows."""

APPLICATION_ID = 0x63686174
"""Marks a SQLite file as chatcore's: "chat" in ASCII, in the header field that SQLite has
for this (https://sqlite.org/pragma.html#pragma_application_id)."""


class CannotOpen(Exception):
    """The database cannot be used. The message is one line for the operator."""


def sqlite_path(url: str) -> Path | None:
    """The file that a `sqlite:///…` URL names; None for a URL of another database.

    Raises CannotOpen for what is no URL of a database file.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise CannotOpen(f"not a database URL: {url!r}") from None
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.drivername != "sqlite" or parsed.host or parsed.query:
        raise CannotOpen("a SQLite URL is sqlite:///relative/path or sqlite:////absolute/path")
    if parsed.database in {None, "", ":memory:"}:
        raise CannotOpen("a SQLite URL names a file, as in sqlite:///chatcore.db")
    return Path(str(parsed.database))


class SqliteDatabase:
    """One SQLite file, and the only process that writes to it."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chatcore-writer")
        self._group = GroupCommit(self._commit)
        self._resources = contextlib.ExitStack()
        self._engine = _engine(self._path)
        self._writer: Connection | None = None
        self._cursor: sqlite3.Cursor
        self.created = False
        """Whether opening made a new database."""

    async def open(self) -> None:
        """Lock, create or check, and migrate the file. Raises CannotOpen."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._open_writer)
            reader = self._engine.connect()
            self._resources.callback(reader.close)
            self._cursor = _dbapi_cursor(reader)
            self._cursor.execute("PRAGMA query_only = ON")
        except BaseException as error:
            await self.close()
            if isinstance(error, (DBAPIError, OSError)):
                reason = error.orig if isinstance(error, DBAPIError) else error.strerror
                raise CannotOpen(f"cannot open {self._path}: {reason}") from error
            raise

    async def close(self) -> None:
        """Finish the writes that wait, then let go of the file."""
        await self._group.close()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._close_writer)
        self._resources.close()
        self._thread.shutdown()

    def prepare(self, statement: Executable) -> Prepared:
        compiled = statement.compile(dialect=self._engine.dialect)  # type: ignore[attr-defined]
        sql, names = str(compiled), compiled.positiontup
        constants = {name: value for name, value in compiled.params.items() if value is not None}

        async def read(**values: Any) -> Sequence[tuple[Any, ...]]:
            values |= constants
            try:
                cursor = self._cursor.execute(sql, [values[name] for name in names])
                return cursor.fetchall()
            except sqlite3.Error as error:
                raise StoreUnavailable(str(error)) from error

        return read

    async def write(self, change: Change) -> Any:
        """What the change returns, once it is durable. A Refused that it raises undoes it."""
        return await self._group.submit(change)

    async def append(self, new: NewMessage) -> Sent:
        sent: Sent = await self._group.submit(new)
        return sent

    def _open_writer(self) -> None:
        if not self._path.parent.is_dir():
            raise CannotOpen(f"cannot open {self._path}: {self._path.parent} is not a folder")
        self._lock()
        # Created here rather than by SQLite, so that other users of the machine never could
        # read it; SQLite gives its journal files the mode of the database.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        writer = self._connect_writer()
        with writer.begin():
            tables = writer.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar()
            mark = writer.exec_driver_sql("PRAGMA application_id").scalar()
            self.created = tables == 0 and mark == 0
            if not self.created and mark != APPLICATION_ID:
                raise CannotOpen(f"{self._path} is a database of something else")
            writer.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
            try:
                upgrade(writer)
            except NewerSchema:
                raise CannotOpen(
                    f"{self._path} was written by a newer chatcore; upgrade to open it"
                ) from None

    def _lock(self) -> None:
        lock = os.open(f"{self._path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._resources.callback(os.close, lock)
        try:
            # Not on the database itself: closing any descriptor of that file would drop the
            # locks that SQLite holds on it (https://sqlite.org/howtocorrupt.html, 2.2).
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotOpen(f"{self._path} is in use by another chatcore service") from None

    def _connect_writer(self) -> Connection:
        self._writer = self._engine.connect()
        return self._writer

    def _close_writer(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(DBAPIError):
                self._writer.close()
            self._writer = None

    async def _commit(self, batch: Sequence[Work]) -> Sequence[Outcome]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._commit_batch, batch)

    def _commit_batch(self, batch: Sequence[Work]) -> Sequence[Outcome]:
        writer = self._writer or self._connect_writer()
        try:
            with writer.begin():
                return _apply(writer, batch)
        except BaseException:
            # Whatever state it is in, nothing of it must reach the next batch.
            self._close_writer()
            raise


def _apply(connection: Connection, batch: Sequence[Work]) -> Sequence[Outcome]:
    new = [work for work in batch if isinstance(work, NewMessage)]
    appended = iter(append_batch(_dbapi_cursor(connection), new) if new else ())
    return [
        next(appended) if isinstance(work, NewMessage) else _apply_change(connection, work)
        for work in batch
    ]


def _apply_change(connection: Connection, change: Change) -> Outcome:
    try:
        with connection.begin_nested():
            return change(connection)
    except Refused as refusal:
        return refusal


def _dbapi_cursor(connection: Connection) -> sqlite3.Cursor:
    cursor: sqlite3.Cursor = connection.connection.cursor()  # type: ignore[assignment]
    return cursor


def _engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        # A failure is logged, and what the statement was given is nobody's business.
        hide_parameters=True,
        # The reader lives on the event loop's thread and is closed there; the writer is made
        # and used on its own thread. Nothing is shared, so the check would only forbid closing
        # what a failed start left behind.
        connect_args={"check_same_thread": False, "timeout": 5},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        # The module's own BEGIN comes late and is deferred, and a deferred transaction that
        # turns out to write cannot wait for its turn: it fails.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
