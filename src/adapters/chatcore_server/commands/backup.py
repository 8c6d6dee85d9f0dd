"""`chatcore backup`: a copy of the SQLite file, while the service goes on."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from chatcore_server.key_file import key_path
from chatcore_server.settings import CannotStart
from chatcore_sqlalchemy import CannotOpen, sqlite_path
from chatcore_sqlalchemy.tools.backup import backup

EVERY_SECONDS = 2.0
NICE = 10
MB = 1_000_000


def back_up(database_url: str, target: Path, say: Callable[[str], None]) -> None:
    """Copy, and say how far it is. Raises CannotStart, and KeyboardInterrupt, for SIGTERM too,
    after clearing away what there is of a copy."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # Those who chat go first.
    with contextlib.suppress(OSError):
        os.nice(NICE)
    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if done < total and (now := time.monotonic()) - told >= EVERY_SECONDS:
            told = now
            say(f"copied {done / MB:,.1f} of {total / MB:,.1f} MB")

    try:
        source = sqlite_path(database_url)
        if source is None:
            raise CannotOpen(
                "backup copies SQLite files; for PostgreSQL there are pg_dump and "
                "point-in-time recovery"
            )
        size = backup(source, target, tell)
    except CannotOpen as error:
        raise CannotStart(str(error)) from error
    say(f"{target} holds all that was stored when the copy began, {size / MB:,.1f} MB")
    if key_path(source).exists():
        say("The key that signs tokens is not in it: where it is restored, a new one is made")
