"""How the service is told to stop."""

import os
import signal
import threading
from collections.abc import Callable

STOP_SECONDS = 4.5
"""When a stop that hangs, by a dead disk say, is given up."""


def exit_on_signals() -> None:
    """Exit with status 0 as soon as SIGTERM or SIGINT comes: while nothing is open yet."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))


def stop_on_signals(give_up: Callable[[], None]) -> threading.Event:
    """Set when SIGTERM or SIGINT comes, from now on. After STOP_SECONDS `give_up` is called,
    which ends the process; a second SIGINT ends it at once."""
    stopping = threading.Event()
    told = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal told
        if not told:
            # First: another signal may come within `set`, which would then wait for itself.
            told = True
            stopping.set()
            timer = threading.Timer(STOP_SECONDS, give_up)
            timer.daemon = True
            timer.start()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping
