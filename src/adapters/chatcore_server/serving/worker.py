"""A worker: one of the processes that serve on a shared port.

`supervisor.py` starts it and talks to it over its standard input, a socket, so that no setting
shows on a command line.
"""

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
"""Sent by a worker once it serves. Any other message is the reason why it cannot, and its last."""


class Task(NamedTuple):
    """The first message from the supervisor to a worker."""

    settings: Settings
    listeners: Sequence[int]
    """The descriptors of the sockets to serve on."""
    chores: bool
    """Whether this worker does the chores (`open_app`)."""


def main() -> int:
    """Serve until the supervisor stops this worker or disappears; return the exit status."""
    unblock_standard_streams()
    stopping = stop_on_signals(lambda: exit_now(1))
    # The supervisor blocked them: signals that arrived earlier are delivered now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    control = socket.socket(fileno=0)
    with control.makefile("rb") as received:
        task: Task = pickle.load(received)  # noqa: S301 (from the process that started this one)
    threading.Thread(target=_stop_with_supervisor, args=(control, stopping), daemon=True).start()

    gc.disable()  # Until the worker serves, as in `commands/serve.py`.
    from chatcore_server.database import expect_several_processes
    from chatcore_server.observe.log_lines import configure_logging
    from chatcore_server.serving.server import serve_on

    configure_logging(task.settings.log)
    logging.raiseExceptions = False
    listeners = [socket.socket(fileno=descriptor) for descriptor in task.listeners]

    def send(message: bytes) -> None:
        with contextlib.suppress(OSError):
            control.sendall(message)

    try:
        expect_several_processes(task.settings)
        serve_on(listeners, task.settings, stopping, lambda _: send(READY), chores=task.chores)
    except CannotStart as error:
        send(str(error).encode())
    return 0


def _stop_with_supervisor(control: socket.socket, stopping: threading.Event) -> None:
    """Stop when the supervisor closes the socket, however it ended."""
    with contextlib.suppress(OSError):
        control.recv(1)
    if stopping.is_set():
        # The supervisor has given up waiting for this worker to stop.
        exit_now(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
