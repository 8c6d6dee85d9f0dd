"""Connections that arrive together are accepted together, not one per round of the event loop."""

import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

from tests.support.service import QuickService

NEWCOMERS = 15
ROUNDS = 40


def test_newcomers_do_not_wait_for_many_rounds_of_a_busy_event_loop(tmp_path: Path) -> None:
    with QuickService(tmp_path, access_log="1") as service, ExitStack() as connections:

        def connect() -> socket.socket:
            address = ("127.0.0.1", service.port)
            return connections.enter_context(socket.create_connection(address, timeout=60))

        busy = connect()
        busy.sendall(b"GET /there HTTP/1.1\r\nHost: x\r\n\r\n")
        assert busy.recv(4096).startswith(b"HTTP/1.1 404")
        before = len(service.log())
        service.process.send_signal(signal.SIGSTOP)
        try:
            # One round of the loop answers one request of a connection; its next request follows.
            busy.sendall(b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n" * ROUNDS)
            newcomers = [connect() for _ in range(NEWCOMERS)]
            for newcomer in newcomers:
                newcomer.sendall(b"GET /new HTTP/1.1\r\nHost: x\r\n\r\n")
        finally:
            service.process.send_signal(signal.SIGCONT)
        for newcomer in newcomers:
            assert newcomer.recv(4096).startswith(b"HTTP/1.1 404")
        received = b""
        while received.count(b"HTTP/1.1 404") < ROUNDS:
            received += busy.recv(65536)
        # A thread of the service writes the lines, perhaps after the answers.
        deadline = time.monotonic() + 60
        while (log := service.log()[before:]).count("404") < NEWCOMERS + ROUNDS:
            assert time.monotonic() < deadline, log
            time.sleep(0.02)
        waited = log[: log.rindex("/new")].count("/busy")
        assert log.count("/new") == NEWCOMERS
        assert waited < NEWCOMERS
