"""Starts the workers that share one port, restarts those that end, and stops them."""

import contextlib
import logging
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatcore_server.serving.listen import bind, url_of
from chatcore_server.serving.stopping import STOP_SECONDS
from chatcore_server.serving.worker import READY, Task
from chatcore_server.settings import CannotStart, Settings

POLL_SECONDS = 0.1
STEADY_SECONDS = 10.0
"""A worker that ran this long restarts at once; others after a delay that doubles."""
FIRST_DELAY = 0.5
MAX_DELAY = 10.0

logger = logging.getLogger("chatcore")


def serve_with_workers(
    settings: Settings, stopping: threading.Event, started: Callable[[Sequence[str]], None]
) -> bool:
    """Serve with `settings.workers` processes until `stopping` is set.

    Returns whether every worker stopped cleanly. The workers share the sockets, so a free worker
    accepts the next connection. A worker that ends is restarted; all end with this process. Calls
    `started` with the URLs as soon as all workers serve. Raises CannotStart if a worker fails
    before that.
    """
    _keep_low_descriptors()
    sockets = bind(settings.host, settings.port)
    workers = _Workers(settings, sockets)
    try:
        workers.begin()
        while not stopping.is_set() and not workers.all_serve():
            workers.poll()
        if not stopping.is_set():
            started([url_of(listener) for listener in sockets])
            workers.restart_workers = True
        while not stopping.is_set():
            workers.poll()
    finally:
        for listener in sockets:
            listener.close()
        clean = workers.end()
    return clean


@dataclass
class _Worker:
    """A worker process, as the supervisor sees it."""

    number: int
    process: "subprocess.Popen[bytes]"
    control: socket.socket
    """Readable when the worker has sent a message or has ended."""
    started: float
    received: bytes = b""

    @property
    def serves(self) -> bool:
        return self.received.startswith(READY)


class _Workers:
    """The running workers, and when to restart the others."""

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._sockets = sockets
        self._running: dict[int, _Worker] = {}
        self._due: dict[int, float] = {}
        """By worker number: when to start it."""
        self._delays: dict[int, float] = {}
        self._selector = selectors.DefaultSelector()
        self.restart_workers = False

    def begin(self) -> None:
        for number in range(self._settings.workers):
            self._start(number)

    def all_serve(self) -> bool:
        return not self._due and all(worker.serves for worker in self._running.values())

    def poll(self) -> None:
        """Wait up to POLL_SECONDS for messages and ended workers; start workers that are due."""
        for number, due in list(self._due.items()):
            if due <= time.monotonic():
                del self._due[number]
                self._start(number)
        for key, _ in self._selector.select(POLL_SECONDS):
            self._receive(key.data)

    def end(self) -> bool:
        """Stop all workers, within STOP_SECONDS; return whether all stopped cleanly."""
        serving = [worker for worker in self._running.values() if worker.serves]
        for worker in self._running.values():
            if worker in serving:
                worker.process.terminate()
            else:
                # It serves no request yet, and its imports may outlast the time limit.
                worker.process.kill()
        clean = True
        give_up = time.monotonic() + STOP_SECONDS
        for worker in serving:
            try:
                clean &= worker.process.wait(max(0, give_up - time.monotonic())) == 0
            except subprocess.TimeoutExpired:
                worker.process.kill()
                clean = False
        return clean

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        listeners = [listener.fileno() for listener in self._sockets]
        # A signal to the whole terminal waits until the worker has its own handlers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "chatcore_server.serving.worker"],
                stdin=theirs.fileno(),
                pass_fds=listeners,
            )
        except OSError as error:
            ours.close()
            self._failed(number, f"a worker cannot start: {error}")
            return
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        with contextlib.suppress(OSError):  # The worker has ended already.
            task = Task(self._settings.of_worker(number), listeners, chores=number == 0)
            ours.sendall(pickle.dumps(task))
        worker = _Worker(number, process, ours, time.monotonic())
        self._running[number] = worker
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _receive(self, worker: _Worker) -> None:
        try:
            message = worker.control.recv(65536)
        except OSError:
            message = b""
        worker.received += message
        if message:
            return
        self._selector.unregister(worker.control)
        worker.control.close()
        del self._running[worker.number]
        status = worker.process.wait()
        if worker.serves:
            if time.monotonic() - worker.started > STEADY_SECONDS:
                self._delays.pop(worker.number, None)
            pid = worker.process.pid
            self._failed(worker.number, f"worker process {pid} {_how(status)}")
        else:
            reason = worker.received.decode()
            self._failed(worker.number, reason or f"a worker {_how(status)} before it served")

    def _failed(self, number: int, reason: str) -> None:
        if not self.restart_workers:
            raise CannotStart(reason)
        delay = self._delays.get(number, 0)
        self._delays[number] = min(max(2 * delay, FIRST_DELAY), MAX_DELAY)
        self._due[number] = time.monotonic() + delay
        logger.error("%s; restarting it%s", reason, f" in {delay:g} s" if delay else "")


def _how(status: int) -> str:
    if status < 0:
        return f"was killed by signal {-status}"
    return f"ended with status {status}"


def _keep_low_descriptors() -> None:
    # A worker would use a socket with the number of a closed standard stream as that stream.
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)
