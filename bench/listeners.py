"""The cost of listening: idle streams, delivery latency, and what ended streams leave behind."""

import itertools
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from bench import load
from bench.cells import SEND
from bench.data import TEXT, Data
from bench.servers import Server, chatcore, make_chatcore_data
from bench.strain import Finding

STREAMS = 2_000
COMINGS = 10_000
KIB = 1024


def idle_streams(folder: Path, data: Data) -> Finding:
    """The memory per idle stream, in one process that serves STREAMS of them."""
    # The streams are closed after the service has stopped.
    with ExitStack() as opened:
        with _service(folder, "idle", data) as server:
            tokens = itertools.cycle(data.tokens().values())
            for _ in range(10):
                _open(server, next(tokens)).close()
            before = server.memory()
            for _ in range(STREAMS):
                opened.enter_context(closing(_open(server, next(tokens))))
            # Wait for the steady state, in which every stream has polled its log.
            time.sleep(6)
            each = (server.memory() - before) / STREAMS / KIB
            began = time.perf_counter()
        seconds = time.perf_counter() - began
    return Finding(
        f"Idle streams: each of {STREAMS:,} that one process serves takes {each:.1f} KiB of its "
        f"memory (promised: at most 40); on SIGTERM it ends them all and exits "
        f"within {seconds:.1f} s (promised: 5).",
        each <= 40 and seconds <= 5,
    )


def delivery(folder: Path, data: Data, seconds: float) -> Finding:
    """The time from sending a message to its event at the peer, while 16 clients send."""
    tokens = data.tokens()
    with (
        _service(folder, "delivery", data) as server,
        closing(_open(server, tokens["writer"])) as stream,
        closing(socket.create_connection(("127.0.0.1", server.port))) as sender,
    ):
        # The load starts before the first measurement and outlasts the last.
        sends = load.start(SEND.job(server.port, 16, seconds + 2, tokens))
        time.sleep(1)
        taken = sorted(_deliveries(sender, stream, tokens["reader"], seconds))
        rate = load.wait(sends).rate
    p50, p99 = (taken[len(taken) * share // 100] * 1000 for share in (50, 99))
    return Finding(
        f"Delivery: while 16 clients send ({rate:,.0f} a second), a listening peer gets a "
        f"message p50 {p50:.1f} ms and p99 {p99:.1f} ms after its sender started to send it "
        f"({len(taken):,} messages; promised: less than 10 ms at the median).",
        p50 < 10,
    )


def comings_and_goings(folder: Path, data: Data) -> Finding:
    """The memory and descriptors that closed streams leave in the process."""
    with _service(folder, "goings", data) as server:
        tokens = itertools.cycle(data.tokens().values())
        for _ in range(1_000):
            _open(server, next(tokens)).close()
        descriptors, memory = _descriptors(server), server.memory()
        for _ in range(COMINGS):
            _open(server, next(tokens)).close()
        time.sleep(1)
        grown = (server.memory() - memory) / KIB
        more = _descriptors(server) - descriptors
    return Finding(
        f"Comings and goings: after {COMINGS:,} streams opened and closed, the process has "
        f"{grown:+,.0f} KiB of memory and {more:+d} descriptors (promised: less than 1 MiB, and "
        f"no descriptor).",
        grown < KIB and more <= 0,
    )


def _deliveries(
    sender: socket.socket, stream: socket.socket, token: str, seconds: float
) -> Iterator[float]:
    deadline = time.perf_counter() + seconds
    number = 0
    while (began := time.perf_counter()) < deadline:
        text = f"{TEXT} {number}."
        body = f'{{"message":"{text}"}}'
        sender.sendall(_head("POST", "/chats/writer/messages", token, len(body)) + body.encode())
        _read_until(stream, f'{text}"'.encode())
        yield time.perf_counter() - began
        _read_until(sender, b"}")
        number += 1


def _open(server: Server, token: str) -> socket.socket:
    """Open a stream and wait for its first frame."""
    opened = socket.create_connection(("127.0.0.1", server.port))
    opened.sendall(_head("GET", "/v1/events", token))
    _read_until(opened, b"\n\n")
    return opened


def _head(method: str, path: str, token: str, length: int = 0) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def _read_until(opened: socket.socket, mark: bytes) -> None:
    received = b""
    while mark not in received:
        piece = opened.recv(64 * KIB)
        assert piece, received
        received += piece


def _descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


@contextmanager
def _service(folder: Path, name: str, data: Data) -> Iterator[Server]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * STREAMS)), hard))
    (folder / name).mkdir()
    with chatcore(make_chatcore_data(folder / name, data)) as server:
        yield server
