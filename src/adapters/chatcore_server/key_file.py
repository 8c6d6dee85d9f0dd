"""The key file beside the database, which signs tokens when CHATCORE_SECRET is not set.

It is text: an operator can copy its content to CHATCORE_SECRET later, and tokens stay valid.
"""

import os
import re
import secrets
import stat
from pathlib import Path

from chatcore_server.settings import CannotStart

_KEY = re.compile(rb"[0-9a-f]{64}\n")


def key_path(database: Path) -> Path:
    """The path of a database's key file; symbolic links to one database share it."""
    return Path(os.path.realpath(database) + ".key")


def forget_key_of_missing(database: Path) -> None:
    """Delete the key of a missing or empty database. Call it before a new database is created.

    User ids start again in a new database, so a token of the old database would name another
    user. Deleting the key afterwards could leave the two together, if the process died between.
    Raises CannotStart.
    """
    path = key_path(database)
    try:
        if (not database.exists() or database.stat().st_size == 0) and path.exists():
            path.unlink()
            _sync_folder(path)
    except OSError as error:
        raise CannotStart(f"cannot delete the old key {path}: {error.strerror}") from error


def key_of(database: Path, *, new: bool) -> str:
    """Read the key beside the database; create it if it is missing or the database is new.

    Only the process that has locked the database may call this. Raises CannotStart if the file
    is not a key, or if users other than its owner can access it.
    """
    path = key_path(database)
    try:
        if new or not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise CannotStart(f"cannot use the key {path}: {error.strerror}") from error


def _make(path: Path) -> None:
    draft = path.with_name(path.name + ".new")
    # Left behind by an interrupted start.
    draft.unlink(missing_ok=True)
    # Private from the moment it is created, and never an existing file.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    # Durable before the first token, so that a power cut voids no token.
    draft.replace(path)
    _sync_folder(path)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CannotStart(f"the key {path} is not a regular file")
        if (mode := stat.S_IMODE(status.st_mode)) & 0o077:
            raise CannotStart(
                f"other users can access the key {path} (mode {mode:04o}): run chmod 600 on it"
            )
        content = file.read(1024)
    if not _KEY.fullmatch(content):
        raise CannotStart(f"the key {path} is damaged: restore it, or delete it to void all tokens")
    return content.decode("ascii").strip()


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
