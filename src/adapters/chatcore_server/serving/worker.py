"""One of the processes that serve on one port. `workers.py` starts it and speaks with it through
its standard input, a socket: nothing of its settings shows on a command line."""

import contextlib
import gc
import logging
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from typing import NamedTuple

from chatcore_server.observe.standard_streams import exit_now, unblock_standard_streams
from chatcore_server.serving.stopping import stop_on_signals
from chatcore_server.settings import CannotStart, Settings

READY = b"\n"
"""What it says once it serves. Whatever else it says is why it cannot, and the last of it."""


class Task(NamedTuple):
    settings: Settings
    listeners: Sequence[int]
    """The descriptors of the sockets to serve on."""
    trims: bool
    """Whether it is the one that trims the logs of events."""


def main() -> int:
    unblock_standard_streams()
    stopping = stop_on_signals(lambda: exit_now(1))
    # What came before has waited.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    control = socket.socket(fileno=0)
    with control.makefile("rb") as told:
        task: Task = pickle.load(told)  # noqa: S301 (from the process that started this one)
    threading.Thread(target=_end_with, args=(control, stopping), daemon=True).start()

    gc.disable()  # Until it serves, as without workers.
    from chatcore_server.database import expect_several_processes
    from chatcore_server.observe.log_lines import configure_logging
    from chatcore_server.serving.server import serve_on

    configure_logging(task.settings.log)
    logging.raiseExceptions = False
    listeners = [socket.socket(fileno=descriptor) for descriptor in task.listeners]

    def say(told: bytes) -> None:
        with contextlib.suppress(OSError):
            control.sendall(told)

    try:
        expect_several_processes(task.settings)
        serve_on(listeners, task.settings, stopping, lambda _: say(READY), trims=task.trims)
    except CannotStart as error:
        say(str(error).encode())
    return 0


def _end_with(control: socket.socket, stopping: threading.Event) -> None:
    """Stop when the process at the other end is gone, however it ended."""
    with contextlib.suppress(OSError):
        control.recv(1)
    if stopping.is_set():
        # It waits no longer for this one to stop.
        exit_now(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
