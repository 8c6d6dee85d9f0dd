"""Runs statements on SQLite: reads on the event loop, writes through group commit.

Reading a page from a database in this process takes some 30 µs, less than a hop to a thread; a
commit waits for the disk, so it has a thread of its own.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Executable

from chatcore.errors import StoreUnavailable
from chatcore.model import Sent
from chatcore_sqlalchemy.group_commit import Append, GroupCommit, Run, Work, Writes
from chatcore_sqlalchemy.queries.events import touch
from chatcore_sqlalchemy.sqlite.commit_thread import CommitThread
from chatcore_sqlalchemy.sqlite.file import SqliteFile
from chatcore_sqlalchemy.sqlite.statement import Rows, run
from chatcore_sqlalchemy.sqlite.writer import SqliteWriter
from chatcore_sqlalchemy.upgrade import Migrated

T = TypeVar("T")


class SqliteDatabase:
    """A Database on one SQLite file, which no other service can use at the same time."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path)
        self._writer = SqliteWriter(self._file)
        self._thread = CommitThread(self._writer)
        self._group = GroupCommit[Work](self._thread)
        self._reader: sqlite3.Connection

    async def open(self) -> None:
        """Lock, create or check, and migrate the file. Raises CannotOpen."""
        try:
            await self._thread.open()
            self._reader = self._file.reader()
        except BaseException:
            await self._group.close()
            raise

    async def close(self) -> None:
        self._reader.close()
        await self._group.close()

    @property
    def migrated(self) -> Migrated:
        return self._writer.migrated

    @property
    def version(self) -> int | None:
        return self._group.version

    @property
    def writes(self) -> Writes:
        return self._group.writes

    async def read(self, statement: Executable, /, **values: Any) -> Rows:
        try:
            return run(self._reader, statement, values)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error

    async def write(self, change: Callable[[Run], T]) -> T:
        outcome: T = await self._group.submit(change)
        return outcome

    async def check_writes(self) -> None:
        # Only a write can find a full disk, but frequent checks must not each write: so only after
        # a failed batch.
        if self._group.failing or self._file.is_on_read_only_disk():
            await self.write(touch)

    async def time_us(self) -> None:
        """Always None: the process's own clock is the only one."""
        return

    async def append(self, append: Append) -> Sent:
        sent: Sent = await self._group.submit(append)
        return sent

    def on_failover(self, forget: Callable[[], None]) -> None:
        """Never calls it: a file has one history."""

    def bound(self, connection: object, digest_secret: object) -> NoReturn:
        raise TypeError(
            "a chat on SQLite cannot share a transaction of yours, for it is a file of its own: "
            "use an outbox (docs/outbox.md)"
        )
