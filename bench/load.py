"""A load generator as a separate process: `python -m bench.load`, with a Job as JSON on stdin.

Each client is one connection, which sends its next request when the last answer is complete. When
the time is over, every client finishes its request, so that acknowledged sends and stored rows
can be compared.
"""

import asyncio
import itertools
import json
import math
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Job:
    """The request to send, the number of clients, and the duration."""

    port: int
    method: str
    path: str
    """`{client}` is replaced by the client's number, `{n}` by the number of its request."""
    clients: int
    seconds: float
    tokens: list[str] = field(default_factory=list)
    """Client i uses token i, modulo their number."""
    body: str = ""
    key: str = ""
    """The Idempotency-Key."""
    once: bool = False
    """Each client sends one request and stops."""


@dataclass
class Outcome:
    """The result of a job."""

    requests: int
    ok: int
    statuses: dict[str, int]
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float = math.nan
    """CPU time of the server process; NaN if not measured."""

    @property
    def rate(self) -> float:
        return self.ok / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of the server's CPU time for each successful request."""
        return self.cpu_seconds / self.ok * 1e6 if self.ok else math.nan


def run(job: Job) -> Outcome:
    """Run the job in another process, wait for it, and return its outcome."""
    return wait(start(job))


def start(job: Job) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(json.dumps(asdict(job)))
    process.stdin.close()
    return process


def wait(process: "subprocess.Popen[str]") -> Outcome:
    assert process.stdout
    with process.stdout:
        text = process.stdout.read()
    if process.wait():
        raise RuntimeError("the load generator failed")
    return Outcome(**json.loads(text))


class Client(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], job: Job, deadline: float) -> None:
        self.requests = requests
        self.job = job
        self.deadline = deadline
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies = array("d")
        self.statuses: Counter[str] = Counter()
        self.received = bytearray()
        self.missing = -1
        """Length of the whole answer; -1 before its head is complete, -2 if the body is chunked."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.received.clear()
        self.missing = -1
        self.sent_at = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.missing == -1:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.received[:end]).lower()
            self.status = head[9:12].decode()
            length = head.find(b"content-length:")
            if length < 0:
                self.missing = -2
            else:
                size = int(head[length + 15 :].split(b"\r\n", 1)[0])
                self.missing = size + end + 4
        whole = (
            self.received.endswith(b"\r\n0\r\n\r\n")
            if self.missing == -2
            else len(self.received) >= self.missing
        )
        if whole:
            now = time.perf_counter()
            self.latencies.append(now - self.sent_at)
            self.statuses[self.status] += 1
            if now < self.deadline and not self.job.once:
                self.send()
            else:
                self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


def requests_of(job: Job, client: int) -> Iterator[bytes]:
    token = job.tokens[client % len(job.tokens)] if job.tokens else ""
    head = f"Host: 127.0.0.1:{job.port}\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"

    def request(n: int) -> bytes:
        values = {"{client}": str(client), "{n}": str(n)}
        path, body, key = job.path, job.body, job.key
        for name, value in values.items():
            path, body = path.replace(name, value), body.replace(name, value)
            key = key.replace(name, value)
        more = f"Idempotency-Key: {key}\r\n" if key else ""
        if body:
            more += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"{job.method} {path} HTTP/1.1\r\n{head}{more}\r\n{body}".encode()

    if "{n}" in job.path + job.body + job.key:
        return (request(n) for n in itertools.count())
    return itertools.repeat(request(0))


async def drive(job: Job) -> Outcome:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    clients = [
        (
            await loop.create_connection(
                lambda client=client: Client(  # type: ignore[misc]
                    requests_of(job, client), job, began + job.seconds
                ),
                "127.0.0.1",
                job.port,
            )
        )[1]
        for client in range(job.clients)
    ]
    await asyncio.wait([client.done for client in clients])
    seconds = time.perf_counter() - began
    latencies = sorted(itertools.chain.from_iterable(client.latencies for client in clients))
    statuses = sum((client.statuses for client in clients), Counter())
    count = len(latencies)
    return Outcome(
        requests=count,
        ok=sum(number for status, number in statuses.items() if status[0] == "2"),
        statuses=dict(statuses),
        seconds=seconds,
        p50_ms=latencies[count // 2] * 1000 if count else 0,
        p99_ms=latencies[min(count * 99 // 100, count - 1)] * 1000 if count else 0,
    )


if __name__ == "__main__":
    import uvloop

    print(json.dumps(asdict(uvloop.run(drive(Job(**json.load(sys.stdin)))))))
