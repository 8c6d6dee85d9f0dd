"""Events of the real service, through kills and restarts."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from tests.support.api import SOAK, Api, Someone, api_at
from tests.support.listening import Frame
from tests.support.service import QuickService, Service
from tests.support.sse import Follower, stream

RESTARTS = ((signal.SIGTERM, signal.SIGKILL) * (10 if SOAK else 1)) + (signal.SIGTERM,)
PAIRS, MESSAGES = (4, 60) if SOAK else (2, 20)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with QuickService(tmp_path_factory.mktemp("service")) as service:
        yield service


@asynccontextmanager
async def chatting(service: Service) -> AsyncIterator[tuple[Api, Someone, Someone, str]]:
    """Two users with a chat, and its path."""
    async with api_at(service.url) as api:
        yield api, *await api.chat_by_id()


async def send(api: Api, by: Someone, path: str, text: str) -> None:
    answer = await api.call("POST", f"{path}/messages", by, json={"text": text})
    assert answer.status_code == 201


async def test_sent_message_reaches_the_stream_of_the_peer(service: Service) -> None:
    async with chatting(service) as (api, ann, bob, path):
        sync = (await api.call("GET", "/v1/sync", bob)).json()
        poll = asyncio.create_task(
            api.call("GET", f"/v1/events?after={sync['cursor']}&wait=30", bob)
        )
        async with stream(api.client, bob) as opened:
            start = await opened.frame()
            assert start == Frame({"type": "start", "cursor": sync["cursor"]})
            await send(api, ann, path, "hello")
            frame = await opened.frame()
            assert frame is not None
            assert frame.data["message"]["text"] == "hello"
        answer = (await poll).json()
        assert answer == {"events": [frame.data], "cursor": frame.id}


async def test_kill_neither_loses_nor_repeats_events(service: Service) -> None:
    async with chatting(service) as (api, ann, bob, path):
        async with stream(api.client, bob) as opened:
            assert await opened.frame()
            for n in range(3):
                await send(api, ann, path, f"before {n}")
            frame = await opened.frame()
            assert frame is not None
            # Everything that Bob's device has seen of it.
            assert frame.data["message"]["text"] == "before 0"
            await asyncio.to_thread(service.kill)
            with pytest.raises(httpx.TransportError):
                await opened.rest()
        await asyncio.to_thread(service.start)
        await send(api, ann, path, "after")
        async with stream(api.client, bob, frame.id) as resumed:
            frames = [await resumed.frame() for _ in range(3)]
        texts = [frame.data["message"]["text"] for frame in frames if frame]
        assert texts == ["before 1", "before 2", "after"]


async def test_restarts_under_load_neither_lose_nor_repeat_events(service: Service) -> None:
    """Each device has seen the whole history of its chats, once and in the order of the log."""
    async with api_at(service.url) as api:
        pairs = [await api.chat_by_id() for _ in range(PAIRS)]
        followers: dict[str, Follower] = {}
        for ann, bob, _ in pairs:
            for someone in (ann, bob):
                sync = (await api.call("GET", "/v1/sync", someone)).json()
                followers[someone.name] = Follower(api.client, someone, sync["cursor"])
        stop = asyncio.Event()
        sent: Counter[str] = Counter()
        following = [asyncio.create_task(each.follow()) for each in followers.values()]
        talking = [
            asyncio.create_task(talk(api, by, path, stop, sent))
            for ann, bob, path in pairs
            for by in (ann, bob)
        ]
        for restarts, by in enumerate(RESTARTS):
            goal = sent.total() + MESSAGES

            def busy(goal: int = goal, restarts: int = restarts) -> bool:
                connected = min(each.connected for each in followers.values())
                return sent.total() >= goal and connected > restarts

            while not busy():  # noqa: ASYNC110 (a task has no event to wait for)
                await asyncio.sleep(0.01)
            await asyncio.to_thread(end, service, by)
            await asyncio.to_thread(service.start)
        stop.set()
        await asyncio.gather(*talking)
        for ann, bob, path in pairs:
            history = await history_of(api, ann, path)
            chat_id = int(path.rpartition("/")[2])
            assert [seq for seq, _, _ in history] == list(range(1, len(history) + 1))
            assert len(history) == sent[ann.name] + sent[bob.name]
            for someone in (ann, bob):
                follower = followers[someone.name]
                await follower.has_seen(len(history))
                assert follower.messages(chat_id) == history
                numbers = follower.numbers()
                assert numbers == list(range(numbers[0], numbers[0] + len(history)))
                assert follower.connected > len(RESTARTS)
        for task in following:
            assert not task.done()
            task.cancel()
        await asyncio.wait(following)


async def talk(api: Api, by: Someone, path: str, stop: asyncio.Event, sent: Counter[str]) -> None:
    """Send until `stop` is set, each message until it is acknowledged."""
    while not stop.is_set():
        number = str(sent[by.name])
        body = {"text": number, "idempotency_key": number}
        status = 0
        while status != 201:
            with suppress(httpx.TransportError):
                status = (await api.call("POST", f"{path}/messages", by, json=body)).status_code
                assert status in {201, 503}
            await asyncio.sleep(0 if status == 201 else 0.2)
        sent[by.name] += 1


def end(service: Service, by: signal.Signals) -> None:
    if by is signal.SIGKILL:
        service.kill()
    else:
        assert service.stop(by) == 0


async def history_of(api: Api, by: Someone, path: str) -> list[tuple[int, str, str]]:
    found: list[tuple[int, str, str]] = []
    while True:
        last = found[-1][0] if found else 0
        page = (await api.call("GET", f"{path}/messages?after={last}&limit=200", by)).json()
        found += [(item["seq"], item["sender"], item["text"]) for item in page["messages"]]
        if not page["newer"]:
            return found
