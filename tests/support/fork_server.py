"""Starts `chatcore` many times from one process that has imported all that it needs.

Most of the processor time of a start goes to imports. A fork of a process that has done them is
the same service, started in a tenth of the time.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests.support.repository import ROOT
from tests.support.soak import SOAK

MAX_REQUEST = 1 << 20
PATIENT_STOP_SECONDS = 60
"""How long a service may take to stop, where the machine may be busy."""


class Forked:
    """A started command, with those methods of `subprocess.Popen` that the tests use."""

    def __init__(self, server: "ForkServer", pid: int) -> None:
        self._server = server
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.status_of(self.pid, 0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, negative for a signal. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self.returncode = self._server.status_of(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The process that forks, and the statuses of what it started. For any number of threads."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"], cwd=ROOT, stdin=theirs.fileno()
        )
        theirs.close()
        self._lock = threading.Lock()
        self._received = b""
        self._started: list[int] = []
        self._statuses: dict[int, int] = {}

    def start(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: dict[str, str],
        output: int,
        errors: int,
        stdin: int | None = None,
        quick_hashes: bool = False,
        connect_seconds: float = 60,
    ) -> Forked:
        """Run `chatcore` with these arguments in the folder.

        `output`, `errors` and `stdin` are descriptors; without `stdin` there is nothing to read.
        With `quick_hashes`, a password hash costs next to nothing. `connect_seconds` is the limit
        for connecting to PostgreSQL.
        """
        request = [*map(str, arguments)], str(folder), environment, quick_hashes, connect_seconds
        with open(os.devnull) as nothing, self._lock:
            line = json.dumps(request).encode() + b"\n"
            streams = [nothing.fileno() if stdin is None else stdin, output, errors]
            socket.send_fds(self._socket, [line[:1]], streams)
            self._socket.sendall(line[1:])
            while not self._started:
                self._receive(None)
            return Forked(self, self._started.pop())

    def status_of(self, pid: int, timeout: float | None) -> int | None:
        """The exit status, or None if the process still runs after that many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                # In short turns, so that other threads get theirs.
                left = 0.05 if deadline is None else min(0.05, deadline - time.monotonic())
                self._receive(max(0, left))
                if pid in self._statuses:
                    return self._statuses[pid]
            if deadline is not None and time.monotonic() >= deadline:
                return None

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def _receive(self, timeout: float | None) -> None:
        if not select.select([self._socket], [], [], timeout)[0]:
            return
        data = self._socket.recv(65536)
        assert data, "the fork server has ended"
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            pid, status = json.loads(line)
            if status is None:
                self._started.append(pid)
            else:
                self._statuses[pid] = status


@functools.cache
def fork_server() -> ForkServer:
    """The one of this process, started when it is first needed."""
    server = ForkServer()
    atexit.register(server.close)
    return server


def main() -> None:
    # What each start would import.
    import chatcore_server.serving.server  # noqa: F401
    import chatcore_sqlalchemy.postgres.database
    import chatcore_sqlalchemy.tools.copy  # noqa: F401
    from chatcore_server import cli

    control = socket.socket(fileno=0)
    woken, wake = socket.socketpair()
    for each in (woken, wake):
        each.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Not what every start would go through at its end.
    gc.freeze()
    running = set[int]()

    def say(pid: int, status: int | None) -> None:
        with contextlib.suppress(OSError):
            control.sendall(json.dumps([pid, status]).encode() + b"\n")

    while True:
        readable, _, _ = select.select([control, woken], [], [])
        if woken in readable:
            woken.recv(4096)
            while running:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                running.discard(pid)
                say(pid, os.waitstatus_to_exitcode(status))
        if control in readable:
            first, [*streams], _, _ = socket.recv_fds(control, 1, 3)
            if not first:
                break
            line = first
            while not line.endswith(b"\n"):
                line += control.recv(1 if len(line) > MAX_REQUEST else 65536)
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                end(cli.main, json.loads(line), streams)
            for stream in streams:
                os.close(stream)
            running.add(pid)
            say(pid, None)
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def end(command: Callable[[Sequence[str]], int], request: Any, streams: Sequence[int]) -> NoReturn:
    """Run the command as the interpreter does, but do not take apart the imported modules at the
    end."""
    arguments, folder, environment, quick_hashes, connect_seconds = request
    from chatcore_postgres import servers

    servers.CONNECT_SECONDS = servers.CONNECT_SECONDS_EACH = connect_seconds
    if not SOAK:
        from chatcore_server.serving import stopping

        stopping.STOP_SECONDS = PATIENT_STOP_SECONDS
    if quick_hashes:
        from chatcore_argon2 import Argon2Hasher

        assert Argon2Hasher.__init__.__kwdefaults__ is not None
        Argon2Hasher.__init__.__kwdefaults__.update(time_cost=1, memory_cost=8)
    for descriptor, stream in enumerate(streams):
        os.dup2(stream, descriptor)
    os.closerange(3, 64)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    try:
        status = command(arguments)
    except SystemExit as left:
        status = int(left.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    # Resources that were never closed warn now.
    gc.collect()
    atexit._run_exitfuncs()
    for buffered in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            buffered.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
