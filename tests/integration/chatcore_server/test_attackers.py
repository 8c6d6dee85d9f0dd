"""Attackers that hold connections open or compare answer times do not disturb the chat."""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.api import Api, Someone, api_at, some_address
from tests.support.figures import Figures
from tests.support.raw import Raw, connected, request
from tests.support.service import Service, memory_of
from tests.support.soak import alone, soak_only

SILENT = 500
MAX_GROWTH = 50  # MiB


async def test_held_connections_do_not_disturb_the_chat(tmp_path: Path, figures: Figures) -> None:
    """500 silent connections, and hundreds that begin a head, a body or a stream and stall."""
    with Service(tmp_path) as service:
        async with api_at(service.url) as api, AsyncExitStack() as held:
            ann, bob = await api.chat()
            await assert_chat_works(api, ann, bob)
            before = memory_of(service.process.pid)

            async def hold(sent: bytes) -> Raw:
                raw = await held.enter_async_context(connected(service.url, buffer=1024))
                if sent:
                    await raw.send(sent)
                return raw

            token = f"Authorization: Bearer {ann.token}"
            head = b"GET /chats HTTP/1.1\r\nHost: chatcore.test\r\nX-Filler: " + b"a" * 16_000
            body = request("POST /register", "Content-Length: 60000") + b'{"username": "' * 2000
            stream = request("GET /v1/events", token, "Accept: text/event-stream")
            for sent, count in ((b"", SILENT), (head, 100), (body, 100), (stream, 100)):
                await asyncio.gather(*(hold(sent) for _ in range(count)))
            await assert_chat_works(api, ann, bob)
            growth = memory_of(service.process.pid) - before
            figures.note(
                f"{SILENT} connections that never speak, and 300 that stall in a head, a body or "
                f"a stream: the service grew by {growth} MiB, and chat went on"
            )
            assert growth <= MAX_GROWTH
        async with api_at(service.url) as api:
            await assert_chat_works(api, ann, bob)


async def assert_chat_works(api: Api, ann: Someone, bob: Someone) -> None:
    for _ in range(20):
        assert (await api.send(ann, bob.name, "hello")).status_code == 201
        assert (await api.read(bob, ann.name)).status_code == 200
    assert (await api.log_in(ann.name)).status_code == 200


@soak_only
@alone
async def test_login_time_does_not_reveal_which_names_exist(
    tmp_path: Path, figures: Figures
) -> None:
    """Compare 200 logins with a wrong password to 200 with an unknown name, in turn. The ranks of
    their times (Mann-Whitney U) differ by less than 4 standard deviations, their medians by less
    than 5%."""
    samples = 200
    with Service(tmp_path, trusted_proxies="127.0.0.1") as service:
        async with api_at(service.url) as api:
            ann = await api.join("ann")
            taken: dict[str, list[float]] = {ann.name: [], "nobody": []}
            for _ in range(samples):
                for name, times in taken.items():
                    # From a new address each time, for which the first try is always verified.
                    account = {"username": name, "password": "a wrong password"}
                    headers = some_address()
                    start = time.perf_counter()
                    answer = await api.call("POST", "/login", json=account, headers=headers)
                    times.append(time.perf_counter() - start)
                    assert answer.status_code == 401
    known, unknown = taken.values()
    wins = sum((a > b) + (a == b) / 2 for a in known for b in unknown)
    deviation = (samples * samples * (2 * samples + 1) / 12) ** 0.5
    z = (wins - samples * samples / 2) / deviation
    medians = statistics.median(known), statistics.median(unknown)
    figures.note(
        f"{samples} wrong passwords took {medians[0] * 1000:.1f} ms and {samples} unknown names "
        f"{medians[1] * 1000:.1f} ms at the median; z = {z:.1f}"
    )
    assert abs(z) < 4
    assert abs(medians[0] / medians[1] - 1) < 0.05
