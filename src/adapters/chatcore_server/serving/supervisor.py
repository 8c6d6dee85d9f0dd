"""Several processes that serve on one port, and the one that looks after them."""

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

LOOK_SECONDS = 0.1
STEADY_SECONDS = 10.0
"""Who has served for so long and ends is replaced at once; others after a delay that doubles."""
FIRST_DELAY = 0.5
MAX_DELAY = 10.0

logger = logging.getLogger("chatcore")


def serve_with_workers(
    settings: Settings, stopping: threading.Event, started: Callable[[Sequence[str]], None]
) -> bool:
    """Serve with `settings.workers` processes until `stopping` is set. Whether all of them then
    ended in order.

    They take connections from the same sockets: who is free takes the next. One that ends is
    replaced; all end when this process does. `started` gets the URLs as soon as all serve.
    Raises CannotStart when one of them cannot, as long as not all have.
    """
    _keep_low_descriptors()
    sockets = bind(settings.host, settings.port)
    workers = _Workers(settings, sockets)
    try:
        workers.begin()
        while not stopping.is_set() and not workers.all_serve():
            workers.look()
        if not stopping.is_set():
            started([url_of(listener) for listener in sockets])
            workers.restart_workers = True
        while not stopping.is_set():
            workers.look()
    finally:
        for listener in sockets:
            listener.close()
        in_order = workers.end()
    return in_order


@dataclass
class _Worker:
    number: int
    process: "subprocess.Popen[bytes]"
    control: socket.socket
    """Readable when it says something, and when it has ended."""
    started: float
    told: bytes = b""

    @property
    def serves(self) -> bool:
        return self.told.startswith(READY)


class _Workers:
    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._sockets = sockets
        self._running: dict[int, _Worker] = {}
        self._due: dict[int, float] = {}
        """When those are started that are not running."""
        self._delays: dict[int, float] = {}
        self._selector = selectors.DefaultSelector()
        self.restart_workers = False

    def begin(self) -> None:
        for number in range(self._settings.workers):
            self._start(number)

    def all_serve(self) -> bool:
        return not self._due and all(worker.serves for worker in self._running.values())

    def look(self) -> None:
        """Wait a moment for what happens, and see to it."""
        for number, due in list(self._due.items()):
            if due <= time.monotonic():
                del self._due[number]
                self._start(number)
        for key, _ in self._selector.select(LOOK_SECONDS):
            self._hear(key.data)

    def end(self) -> bool:
        """Tell all to stop, and wait until they have, for STOP_SECONDS. Whether they ended in
        order."""
        serving = [worker for worker in self._running.values() if worker.serves]
        for worker in self._running.values():
            if worker in serving:
                worker.process.terminate()
            else:
                # Nothing is under way, and its imports may take as long as it has.
                worker.process.kill()
        in_order = True
        give_up = time.monotonic() + STOP_SECONDS
        for worker in serving:
            try:
                in_order &= worker.process.wait(max(0, give_up - time.monotonic())) == 0
            except subprocess.TimeoutExpired:
                worker.process.kill()
                in_order = False
        return in_order

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        listeners = [listener.fileno() for listener in self._sockets]
        # Until it has handlers of its own, a signal to all of a terminal's processes waits.
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
        with contextlib.suppress(OSError):  # It has ended already.
            task = Task(self._settings.of_worker(number), listeners, trims=number == 0)
            ours.sendall(pickle.dumps(task))
        worker = _Worker(number, process, ours, time.monotonic())
        self._running[number] = worker
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _hear(self, worker: _Worker) -> None:
        try:
            told = worker.control.recv(65536)
        except OSError:
            told = b""
        worker.told += told
        if told:
            return
        self._selector.unregister(worker.control)
        worker.control.close()
        del self._running[worker.number]
        status = worker.process.wait()
        if worker.serves:
            if time.monotonic() - worker.started > STEADY_SECONDS:
                self._delays.pop(worker.number, None)
            pid = worker.process.pid
            self._failed(worker.number, f"the worker of process {pid} {_how(status)}")
        else:
            said = worker.told.decode()
            self._failed(worker.number, said or f"a worker {_how(status)} before it served")

    def _failed(self, number: int, why: str) -> None:
        if not self.restart_workers:
            raise CannotStart(why)
        delay = self._delays.get(number, 0)
        self._delays[number] = min(max(2 * delay, FIRST_DELAY), MAX_DELAY)
        self._due[number] = time.monotonic() + delay
        logger.error("%s; another takes its place%s", why, f" in {delay:g} s" if delay else "")


def _how(status: int) -> str:
    if status < 0:
        return f"was ended by signal {-status}"
    return f"ended with status {status}"


def _keep_low_descriptors() -> None:
    # A socket in the place of a stream that was closed would be that stream to a worker.
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)
