"""Clients that disconnect at any moment leave nothing behind."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import statistics
import time
from operator import gt
from random import Random
from typing import NamedTuple

from tests.integration.durability.contents import find_wrong, read_histories
from tests.integration.durability.crowd import Crowd
from tests.support.api import PASSWORD, api_at
from tests.support.figures import Figures
from tests.support.service import Service
from tests.support.soak import long

AT_ONCE = 16
WRITTEN = 608  # Longer than the first piece of a history.
ANSWER_SECONDS = 120
LEFT_SECONDS = 300  # Much longer than any timeout of the service.


@long
async def test_abandoned_requests_leave_nothing_behind(
    observed_service: Service, soak: bool, figures: Figures
) -> None:
    count = 1000 if soak else 60
    crowd = await Crowd.gather(observed_service, 4, Random(count), WRITTEN)
    with observed_service as service:
        async with api_at(service.url) as crowd.api:
            before = await seconds_per_send(crowd)
        idle = await at_rest(service)
        async with api_at(service.url) as crowd.api:
            stop, places = asyncio.Event(), asyncio.Semaphore(AT_ONCE)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(crowd.talk(stop))
                async with asyncio.TaskGroup() as leaving:
                    for _ in range(count):
                        leaving.create_task(leave(service.port, crowd, places))
                stop.set()
            after = await seconds_per_send(crowd)
            assert await crowd.histories() == read_histories(service.database_path)
        await comes_to(service, idle)
        with contextlib.closing(sqlite3.connect(service.database_path, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
        assert find_wrong(service.database_path, crowd.ledger.sends) == []
    assert crowd.statuses[503] == 0
    figures.survived(count, "requests abandoned", crowd.ledger)
    figures.note(f"a send takes {before * 1000:.1f} ms before them and {after * 1000:.1f} ms after")


async def leave(port: int, crowd: Crowd, places: asyncio.Semaphore) -> None:
    """Make a request and disconnect, at any instant before or after it is complete."""
    async with places:
        random = crowd.random
        request = some_request(crowd)
        if random.random() < 0.2:
            request = request[: random.randrange(len(request))]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(random.random() / 50):
                await reader.read(random.choice((1, 100_000)))
                await asyncio.Event().wait()
        # Closing with unread data resets the connection.
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def some_request(crowd: Crowd) -> bytes:
    seat = crowd.random.choice(crowd.seats)
    token = f"authorization: Bearer {seat.me.token}\r\n"
    match crowd.random.randrange(6):
        case 0:
            return request("GET", f"/chats/messages/{seat.peer}", token)
        case 1:
            return request("GET", "/chats", token)
        case 2:
            return request("POST", "/login", "", {"username": seat.me.name, "password": PASSWORD})
        case _:
            send = crowd.begin(seat, keyed=crowd.random.random() < 0.5)
            key = f"idempotency-key: {send.key}\r\n" if send.key else ""
            path = f"/chats/{seat.peer}/messages"
            return request("POST", path, token + key, {"message": send.text})


def request(method: str, path: str, headers: str, body: object = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len(content)}\r\n\r\n"
    return head.encode() + content


async def seconds_per_send(crowd: Crowd) -> float:
    """The median of twenty: a figure that is printed and not judged."""
    times = []
    for _ in range(20):
        started = time.perf_counter()
        await crowd.fill(crowd.seats[2], 1)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


class Held(NamedTuple):
    descriptors: int
    tasks: int


async def at_rest(service: Service) -> Held:
    """What the service holds after it has finished with its last client."""
    readings = [await asyncio.to_thread(held, service)]
    until = time.monotonic() + LEFT_SECONDS
    while len(readings) < 5 or len(set(readings[-5:])) > 1:
        assert time.monotonic() < until, readings
        await asyncio.sleep(0.1)
        readings.append(await asyncio.to_thread(held, service))
    return readings[-1]


async def comes_to(service: Service, wanted: Held) -> None:
    """Wait until the service holds no more than before."""
    until = time.monotonic() + LEFT_SECONDS
    while any(map(gt, reading := await asyncio.to_thread(held, service), wanted)):
        assert time.monotonic() < until, f"{reading}, not {wanted}"
        await asyncio.sleep(0.1)


def held(service: Service) -> Held:
    """Linux only."""
    count = service.folder / "tasks"
    count.unlink(missing_ok=True)
    service.process.send_signal(signal.SIGUSR1)
    until = time.monotonic() + ANSWER_SECONDS
    while not (count.exists() and count.read_text()):
        assert time.monotonic() < until, "the service does not answer a signal"
        time.sleep(0.005)
    return Held(len(os.listdir(f"/proc/{service.process.pid}/fd")), int(count.read_text()))
