"""The key that signs tokens when the operator sets none: a file beside the database.

It is text, so that its content can become CHATCORE_SECRET later and tokens stay valid.
"""

import os
import re
import secrets
import stat
from pathlib import Path

from chatcore_server.settings import CannotStart

_KEY = re.compile(rb"[0-9a-f]{64}\n")


def key_path(database: Path) -> Path:
    """Where the key of a database is, under whatever name that is known."""
    return Path(os.path.realpath(database) + ".key")


def forget_key_of_missing(database: Path) -> None:
    """Delete the key of a database that is gone. Call before a new one can take its place.

    User ids start again in a new database, so a token of the old one would be somebody
    else's. Not after the database was made: dying in between would leave the two together.
    """
    path = key_path(database)
    try:
        if (not database.exists() or database.stat().st_size == 0) and path.exists():
            path.unlink()
            _sync_folder(path)
    except OSError as error:
        raise CannotStart(f"cannot delete the old key {path}: {error.strerror}") from error


def key_of(database: Path, *, new: bool) -> str:
    """The key beside the database, made now if there is none or the database is new.

    Only the process that holds the database may call this. Raises CannotStart when the file
    is no key, or others than its owner can reach it.
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
    # What a start that was cut off has left.
    draft.unlink(missing_ok=True)
    # The mode is the file's from its first moment on, and nobody's file is written into.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    # Durable before the first token: nobody's token dies with a power cut.
    draft.replace(path)
    _sync_folder(path)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CannotStart(f"the key {path} is not a file")
        if (mode := stat.S_IMODE(status.st_mode)) & 0o077:
            raise CannotStart(
                f"the key {path} can be reached by others (mode {mode:04o}): chmod 600 it"
            )
        content = file.read(1024)
    if not _KEY.fullmatch(content):
        raise CannotStart(f"the key {path} is damaged: restore it, or delete it to end all logins")
    return content.decode("ascii").strip()


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
