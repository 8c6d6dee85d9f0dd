"""An application of a host under uvicorn, as a process of its own."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.repository import ROOT

SECONDS = 90
"""For a start and for a stop, on a machine under full load."""


class UvicornProcess:
    """`with UvicornProcess("module:app", folder) as server:` starts it in the folder, and kills it
    if it still runs. The module is one of `examples/`."""

    def __init__(self, app: str, folder: Path, *options: str) -> None:
        self._log = folder / "uvicorn.log"
        command = [sys.executable, "-m", "uvicorn", app, "--port", "0"]
        self._command = [*command, "--app-dir", f"{ROOT / 'examples'}", *options]
        self._folder = folder
        self._process: subprocess.Popen[bytes]
        self.url = ""

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(r"running on (http://\S+)", self.log())):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise AssertionError(f"did not start:\n{self.log()}")
            time.sleep(0.02)
        self.url = found[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end. Returns the exit status: the negative signal that stopped it."""
        return self._process.wait(SECONDS)

    def log(self) -> str:
        return self._log.read_text("utf-8")
