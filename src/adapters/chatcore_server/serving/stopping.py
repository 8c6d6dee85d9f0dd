"""Stops the service on SIGTERM and SIGINT."""

import os
import signal
import threading
from collections.abc import Callable

STOP_SECONDS = 4.5
"""Time limit of a stop, which may hang on a dead disk for example."""


def exit_on_signals() -> None:
    """Exit with status 0 on SIGTERM or SIGINT: for the time before anything is open."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))


def stop_on_signals(give_up: Callable[[], None]) -> threading.Event:
    """Return an event that is set on SIGTERM or SIGINT.

    STOP_SECONDS later `give_up` is called, which must end the process. A second SIGINT ends it at
    once.
    """
    stopping = threading.Event()
    signalled = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal signalled
        if not signalled:
            # Assigned first: a signal that interrupts `set` would otherwise wait for its own lock.
            signalled = True
            stopping.set()
            timer = threading.Timer(STOP_SECONDS, give_up)
            timer.daemon = True
            timer.start()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping
