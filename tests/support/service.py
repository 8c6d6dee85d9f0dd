"""The real service for tests: a separate process, on a free port, with a fresh database.

`Service` is forked from a process that has done the imports. `QuickService` also hashes passwords
cheaply, and `CommandService` is started as users start it, for tests of starting itself.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

from tests.support.fork_server import PATIENT_STOP_SECONDS, Forked, fork_server
from tests.support.soak import SOAK

PATIENT = f"""
import sys
from chatcore_server.serving import stopping
stopping.STOP_SECONDS = {PATIENT_STOP_SECONDS}
from chatcore_server.cli import main
sys.exit(main())
"""
COMMAND = [sys.executable, *(["-m", "chatcore_server"] if SOAK else ["-c", PATIENT])]
START_SECONDS = 90  # A machine under full load still starts it in time.
# The service promises 5 seconds. Only the long run, which has the machine to itself, checks that
# exactly.
STOP_SECONDS = 5 if SOAK else PATIENT_STOP_SECONDS + 5


class Service:
    """`chatcore serve` with its database in `folder`.

    `with Service(tmp_path) as service:` starts it, waits until it answers, and stops it;
    `stop`, `kill` and `start` in between make restarts, on the same port and database.
    Settings go by their names: `Service(tmp_path, access_log="1")`. Every method blocks: call
    them from async tests through `anyio.to_thread.run_sync` where the loop has other work.
    """

    quick_hashes: ClassVar[bool] = False

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.database_path = folder / "chatcore.db"
        self.log_path = folder / "service.log"
        self.settings = {"port": "0"} | settings
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._url = ""

    @property
    def process(self) -> subprocess.Popen[bytes] | Forked:
        """The newest process, running or not."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`, the same after a restart."""
        assert self._url, "not started"
        return self._url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def log(self) -> str:
        """Return its standard output and error so far, over all its starts."""
        return self.log_path.read_text("utf-8") if self.log_path.exists() else ""

    def log_with(self, text: str) -> str:
        """Wait until the log has the text, which another thread writes; return the log."""
        deadline = time.monotonic() + START_SECONDS
        while text not in (log := self.log()):
            assert time.monotonic() < deadline, log
            time.sleep(0.02)
        return log

    def start(self) -> None:
        """Start the service and wait until it responds."""
        before = len(self.log())
        with self.log_path.open("ab") as log:
            self._process = self._spawn(log)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers(self.log()[before:]):
            status = self._process.poll()
            if status is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"did not start (exit status {status}):\n{self.log()}")
            time.sleep(0.02)

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes] | Forked:
        return fork_server().start(
            ["serve"],
            folder=self.folder,
            environment=environment(**self.settings),
            output=log.fileno(),
            errors=log.fileno(),
            quick_hashes=self.quick_hashes,
        )

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Stop it as a supervisor does. Returns the exit status. Fails after STOP_SECONDS."""
        self.process.send_signal(by)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop in {STOP_SECONDS} s:\n{self.log()}") from None

    def kill(self) -> None:
        """Kill the service, as a crash would."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        assert self.stop() == 0, self.log()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            status = self.stop()
            assert status == 0 or error is not None, self.log()

    def _answers(self, said: str) -> bool:
        if not (listening := re.search(r"listens on (http://\S+)\n", said)):
            return False
        self._url = listening[1]
        self.settings["port"] = str(self.port)
        try:
            with urllib.request.urlopen(f"{self._url}/healthz", timeout=START_SECONDS):  # noqa: S310
                return True
        except urllib.error.URLError:
            return False


class QuickService(Service):
    """The service with cheap password hashes, for tests that do not depend on them."""

    quick_hashes = True


class CommandService(Service):
    """The service started by its command, imports and all."""

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*COMMAND, "serve"],
            cwd=self.folder,
            env=environment(**self.settings),
            stdout=log,
            stderr=log,
        )


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment with only these settings of the service."""
    inherited = {name: value for name, value in os.environ.items() if "CHATCORE_" not in name}
    return inherited | {f"CHATCORE_{name.upper()}": value for name, value in settings.items()}


def run(
    *arguments: str, cwd: Path, stdin: str = "", connect_seconds: str = "60", **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    with (
        tempfile.TemporaryFile() as input_,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        input_.write(stdin.encode())
        input_.seek(0)
        process = fork_server().start(
            arguments,
            folder=cwd,
            environment=environment(**settings),
            stdin=input_.fileno(),
            output=output.fileno(),
            errors=errors.fileno(),
            connect_seconds=float(connect_seconds),
        )
        status = process.wait(90)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(
            arguments, status, output.read().decode(), errors.read().decode()
        )


def memory_of(process: int, figure: str = "VmRSS") -> int:
    """MiB that a process uses (VmRSS) or has used at most (VmHWM). Linux only."""
    status = Path(f"/proc/{process}/status").read_text("ascii")
    [line] = [line for line in status.splitlines() if line.startswith(f"{figure}:")]
    return int(line.split()[1]) // 1024
