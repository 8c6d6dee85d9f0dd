"""How statements run on SQLite: reads on the event loop, writes committed in groups.

A page read from a database in this process takes some 30 µs, less than handing it to a
thread; a commit waits for the disk, so it has a thread of its own.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Executable

from chatcore.errors import StoreUnavailable
from chatcore.model import NewMessage, Sent
from chatcore_sqlalchemy.group_commit import GroupCommit, Run, Work, Writes
from chatcore_sqlalchemy.queries.events import touch
from chatcore_sqlalchemy.sqlite.commit_thread import CommitThread
from chatcore_sqlalchemy.sqlite.file import SqliteFile
from chatcore_sqlalchemy.sqlite.statement import Rows, run
from chatcore_sqlalchemy.sqlite.writer import SqliteWriter
from chatcore_sqlalchemy.upgrade import Migrated

T = TypeVar("T")


class SqliteDatabase:
    """One SQLite file, and the only service that uses it."""

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
        """Finish the writes that wait, then let go of the file. May be called again."""
        self._reader.close()
        await self._group.close()

    @property
    def migrated(self) -> Migrated:
        """What opening did to the schema."""
        return self._writer.migrated

    @property
    def version(self) -> int | None:
        """While this number stays the same, so does all that `read` returns. None tells nothing:
        a write is under way."""
        return self._group.version

    @property
    def writes(self) -> Writes:
        """What became of the queue of writes so far."""
        return self._group.writes

    async def read(self, statement: Executable, /, **values: Any) -> Rows:
        """All rows that a query returns for these bound values."""
        try:
            return run(self._reader, statement, values)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error

    async def write(self, change: Callable[[Run], T]) -> T:
        """What the change returns, once it is durable, or what it raises, which undoes it."""
        outcome: T = await self._group.submit(change)
        return outcome

    async def check_writes(self) -> None:
        """Raises StoreUnavailable when a write would fail now."""
        # Only what reaches the disk finds out whether that is full, and one who asks often must
        # not write each time.
        if self._group.failing or self._file.is_on_read_only_disk():
            await self.write(touch)

    async def append(self, new: NewMessage) -> Sent:
        sent: Sent = await self._group.submit(new)
        return sent
