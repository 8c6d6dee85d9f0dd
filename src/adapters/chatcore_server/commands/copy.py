"""`chatcore copy`: from one SQLite file to PostgreSQL."""

import asyncio
import time
from collections.abc import Callable

from chatcore_server.key_file import key_path
from chatcore_server.settings import CannotStart
from chatcore_sqlalchemy import CannotOpen, sqlite_path
from chatcore_sqlalchemy.tools.copy import copy

EVERY_SECONDS = 2.0


def copy_database(source: str, target: str, say: Callable[[str], None]) -> None:
    """Copy, and say how far it is. Raises CannotStart."""
    told = time.monotonic()

    def tell(what: str, done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if done == total or now - told >= EVERY_SECONDS:
            told = now
            say(f"{what}: {done:,} of {total:,}")

    try:
        file = sqlite_path(source)
        if file is None or sqlite_path(target) is not None:
            raise CannotOpen("copy goes from sqlite:///… to postgresql://…, and nowhere else")
        rows, before = asyncio.run(copy(file, target, tell))
    except CannotOpen as error:
        raise CannotStart(str(error)) from error
    counts = ", ".join(f"{rows[name]:,} {name}" for name in ("users", "chats", "messages"))
    say(f"{'It was there already' if before else 'Copied'}, every row compared: {counts}")
    if (key := key_path(file)).exists():
        say(f"For logins to stay valid, set CHATCORE_SECRET to the content of {key}")
