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
"""How many pages of 4 KiB are copied and synced to the disk at a time."""

IDS_APART = 1_000_000
"""How far the next ids of the copy lie above those of the source."""

Progress = Callable[[int, int], None]
"""Takes the number of bytes copied so far, and of all bytes."""


def backup(source: Path, target: Path, progress: Progress) -> int:
    """Copy the database, as it is at the start, to a new file of mode 0600. Returns its size in
    bytes.

    The target appears once it is complete and on the disk; after any failure before, nothing is
    left. Raises CannotOpen, also if the target exists.

    The copy is a store of its own: its event logs have another name, and its next ids of users and
    chats lie IDS_APART above those of the source, which will not reach them for long. So cursors
    and tokens made after the copy name nothing and no other user in it. It has no device sessions,
    as it has no key: what a restored backup would revive may have ended since.
    """
    if target.exists() or target.is_symlink():
        raise CannotOpen(f"{SqliteFile(target)} already exists")
    try:
        with open_read_only(source) as connection:
            # Not created by SQLite, so that other users of the machine can never read it.
            descriptor, name = tempfile.mkstemp(".partial", f"{target.name}.", target.parent)
            draft = Path(name)
            try:
                _copy(connection, draft, descriptor, progress)
                size = draft.stat().st_size
                try:
                    # A link never replaces a file, not even one created since the check.
                    target.hardlink_to(draft)
                except FileExistsError:
                    raise CannotOpen(f"{SqliteFile(target)} already exists") from None
                except OSError:
                    # Some network shares have no hard links.
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


def _copy(source: sqlite3.Connection, draft: Path, descriptor: int, progress: Progress) -> None:
    [page_size] = source.execute("PRAGMA page_size").fetchone()

    def next_piece(_status: int, remaining: int, total: int) -> None:
        # After each piece, or a commit of the service would wait for the whole copy at the end.
        os.fsync(descriptor)
        progress((total - remaining) * page_size, total * page_size)

    with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as copy:
        # In the source's read transaction, so that no write restarts it.
        source.backup(copy, pages=PIECE, progress=next_piece)
        # A single complete file, without a WAL; a service that opens it turns the WAL on again.
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute("BEGIN IMMEDIATE")
        copy.execute("UPDATE store SET log = ?", (secrets.token_hex(8),))
        copy.execute("UPDATE sqlite_sequence SET seq = seq + ?", (IDS_APART,))
        if copy.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sessions'").fetchone():
            copy.execute("DELETE FROM sessions")
        copy.execute("COMMIT")
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
