"""Copies a SQLite file while a service writes to it."""

import contextlib
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.sqlite.file import SqliteFile
from chatcore_sqlalchemy.sqlite.read_only import open_read_only

PIECE = 1024
"""Pages of 4 KiB that are copied, and reach the disk, at a time."""

IDS_APART = 1_000_000

Tell = Callable[[int, int], None]
"""How many bytes are copied, and of how many."""


def backup(source: Path, target: Path, tell: Tell) -> int:
    """Copy the database, as it is when this begins, to a new file of mode 0600. Returns its size
    in bytes.

    The target appears when it is whole and on the disk; whatever goes wrong before leaves
    nothing. Raises CannotOpen, also when there is a file of that name.

    The copy is a store of its own: its logs have another name, and its next ids of users and
    chats lie beyond those that the source has given or, for long, will give. So cursors and
    tokens made after the copy name nothing in it, and nobody else.
    """
    if target.exists() or target.is_symlink():
        raise CannotOpen(f"{SqliteFile(target)} is there already")
    try:
        with open_read_only(source) as connection:
            # Created here rather than by SQLite, so that others never could read it.
            descriptor, name = tempfile.mkstemp(".partial", f"{target.name}.", target.parent)
            draft = Path(name)
            try:
                _copy(connection, draft, descriptor, tell)
                size = draft.stat().st_size
                try:
                    # It replaces nothing, not even what came meanwhile.
                    target.hardlink_to(draft)
                except FileExistsError:
                    raise CannotOpen(f"{SqliteFile(target)} is there already") from None
                except OSError:
                    # Some network shares have no links.
                    draft.rename(target)
            finally:
                os.close(descriptor)
                for left in (draft, Path(f"{draft}-journal")):
                    left.unlink(missing_ok=True)
            _sync_folder(target.parent)
            return size
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CannotOpen(f"cannot copy {SqliteFile(source)} to {target}: {reason}") from error


def _copy(source: sqlite3.Connection, draft: Path, descriptor: int, tell: Tell) -> None:
    [page_size] = source.execute("PRAGMA page_size").fetchone()

    def next_piece(_status: int, remaining: int, total: int) -> None:
        # Now: a service that commits meanwhile would wait for all of it at the end.
        os.fsync(descriptor)
        tell((total - remaining) * page_size, total * page_size)

    with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as copy:
        # Within the source's read transaction, so no write makes it begin anew.
        source.backup(copy, pages=PIECE, progress=next_piece)
        # One file that is whole by itself; whoever serves it turns the WAL on again.
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute("BEGIN IMMEDIATE")
        copy.execute("UPDATE store SET log = ?", (secrets.token_hex(8),))
        copy.execute("UPDATE sqlite_sequence SET seq = seq + ?", (IDS_APART,))
        copy.execute("COMMIT")
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
