"""A log reader that stops reading blocks neither the service nor its shutdown."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from chatcore_server.observe.standard_streams import MAX_BYTES
from tests.integration.chatcore_server.test_service import HANGING
from tests.support.apps import SECRET
from tests.support.clients import get
from tests.support.service import COMMAND, START_SECONDS, environment
from tests.support.soak import soak_only

SECONDS = 60
"""More than ten times the promised limit."""

DROPPED = re.compile(r"the log had no reader for a while; (\d+) lines were dropped")


class Pipe:
    """A pipe that stays full until it is read."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        filling = b"\n" * 4096
        while filling:
            try:
                os.write(self.writing, filling)
            except BlockingIOError:
                filling = filling[: len(filling) // 2]
        os.set_blocking(self.writing, True)
        self._read = b""

    def lines(self) -> list[str]:
        """The lines read so far, without the filling."""
        whole, _, _ = self._read.rpartition(b"\n")
        return [line for line in whole.decode().splitlines() if line]

    def read_until(self, wanted: re.Pattern[str]) -> None:
        while not any(wanted.search(line) for line in self.lines()):
            self._read += os.read(self.reading, 65536)

    def read_to_the_end(self) -> list[str]:
        """Read until every writer has closed."""
        os.close(self.writing)
        while chunk := os.read(self.reading, 65536):
            self._read += chunk
        assert self._read.endswith(b"\n")
        return self.lines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reading)


@contextmanager
def serving(
    folder: Path, pipe: Pipe, **settings: str
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """The service with the pipe as standard output and error, and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*COMMAND, "serve"],
        cwd=folder,
        env=environment(port=str(port), prot="mistyped", **settings),
        stdout=pipe.writing,
        stderr=pipe.writing,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(url):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process, url
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def path(number: int) -> str:
    return f"/nowhere-{number:06}-".ljust(250, "x")


def ask(url: str, numbers: range) -> None:
    """Requests that each produce a long log line."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), SECONDS) as peer:
        answer = peer.makefile("rb")
        for number in numbers:
            peer.sendall(f"GET {path(number)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert answer.readline().startswith(b"HTTP/1.1 404 ")
            length = 0
            while (line := answer.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            answer.read(length)


def numbers_in(lines: list[str]) -> list[int]:
    return [int(found[1]) for line in lines if (found := re.search(r"/nowhere-(\d{6})-x", line))]


@pytest.mark.parametrize("form", [pytest.param("text", marks=soak_only), "json"])
def test_unread_log_lines_are_dropped_and_counted(form: str, tmp_path: Path, pipe: Pipe) -> None:
    more = 500
    asked = MAX_BYTES // len(path(0)) + more
    with serving(tmp_path, pipe, access_log="1", log=form) as (process, url):
        ask(url, range(asked))
        pipe.read_until(DROPPED)
        ask(url, range(asked, asked + more))
        process.send_signal(signal.SIGTERM)
        reading = threading.Timer(0, pipe.read_to_the_end)
        reading.start()
        assert process.wait(SECONDS) == 0
        reading.join()
    lines = pipe.lines()
    assert (
        lines[0] == "chatcore: warning: unknown setting CHATCORE_PROT; did you mean CHATCORE_PORT?"
    )
    logged = [line for line in lines[1:] if "listens on" not in line and "keeps its" not in line]
    if form == "json":
        logged = [json.loads(line)["message"] for line in logged]
    numbers = numbers_in(logged)
    assert numbers == sorted(set(numbers))
    assert numbers[-more:] == list(range(asked, asked + more))
    [dropped] = [int(found[1]) for line in logged if (found := DROPPED.search(line))]
    assert dropped == asked + more - len(numbers) > 0


def test_service_stops_while_its_log_is_unread(tmp_path: Path, pipe: Pipe) -> None:
    with serving(tmp_path, pipe, access_log="1") as (process, url):
        ask(url, range(2000))
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert "Traceback" not in "\n".join(pipe.read_to_the_end())


def test_hanging_shutdown_is_abandoned_while_the_log_is_unread(tmp_path: Path, pipe: Pipe) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=pipe.writing,
    )
    with process:
        assert process.stdout is not None
        assert b"listens on" in process.stdout.readline()
        process.terminate()
        assert process.wait(SECONDS) == 1


@soak_only
def test_workers_serve_and_stop_while_the_log_is_unread(
    tmp_path: Path, pipe: Pipe, postgres_url: str
) -> None:
    settings = {"database_url": postgres_url, "secret": SECRET, "workers": "2"}
    with serving(tmp_path, pipe, access_log="1", **settings) as (process, url):
        ask(url, range(500))
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


LAST_WORDS = """
import logging, sys
from chatcore_server.observe import standard_streams
from chatcore_server.observe.standard_streams import exit_now, unblock_standard_streams
standard_streams.END_SECONDS = float(sys.argv[1])
unblock_standard_streams()
from chatcore_server.observe.log_lines import configure_logging
configure_logging("json")
for number in range(200):
    try:
        raise ValueError(f"{number} " + "x" * (number * 40))
    except ValueError:
        logging.getLogger("chatcore").exception("failed")
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [("exit_now(3)", 3), ("sys.exit(4)", 4), ("1 / 0", 1)],
)
def test_last_log_lines_are_written_whole_however_the_process_ends(end: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LAST_WORDS + end, str(SECONDS)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == status
    lines = done.stderr.splitlines()
    tracebacks = [json.loads(line).get("traceback", "") for line in lines if line.startswith("{")]
    assert [f"ValueError: {number} " in tracebacks[number] for number in range(200)] == [True] * 200
    assert ("ZeroDivisionError: division by zero" in lines[-1]) == ("1 / 0" in end)


def test_ending_process_leaves_no_partial_line(pipe: Pipe) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LAST_WORDS + "exit_now(3)", "0.4"], stderr=pipe.writing
    ) as process:
        # Room for only some of the lines.
        os.read(pipe.reading, 30_000)
        assert process.wait(SECONDS) == 3
    for line in pipe.read_to_the_end():
        if line.startswith("{"):
            json.loads(line)
