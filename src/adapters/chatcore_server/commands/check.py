"""`chatcore check`: whether what the database holds fits together."""

import asyncio
import time
from collections.abc import Callable

from chatcore_server.settings import CannotStart
from chatcore_sqlalchemy import CannotOpen
from chatcore_sqlalchemy.tools.check import check_database

QUIET_SECONDS = 2.0
"""After that long without a line, one says how far it is."""

Say = Callable[[str], None]


def check(database_url: str, say: Say, say_progress: Say) -> bool:
    """Say what is wrong, a line for each fault, then how much was looked at. Returns whether
    nothing is wrong. Raises CannotStart."""
    told = time.monotonic()

    def tell(what: str, number: int, of: int) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= QUIET_SECONDS:
            told = now
            say_progress(f"{number} of {of}: {what}")

    sound = True

    def found(fault: str) -> None:
        nonlocal sound
        sound = False
        say(fault)

    try:
        counts = asyncio.run(check_database(database_url, found, tell))
    except CannotOpen as error:
        raise CannotStart(str(error)) from error
    held = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    say(f"{'Nothing is wrong' if sound else 'There are faults'} in {held}")
    return sound
