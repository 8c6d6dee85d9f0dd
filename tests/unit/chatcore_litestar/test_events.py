"""`GET /v1/events` in process: the events of streams and polls, and how both end."""

import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcore import Cursor, StoreUnavailable
from chatcore.following import PAGE
from chatcore.testing import VirtualClock, VirtualTimeLoop
from chatcore_litestar.replies import CHUNK
from chatcore_litestar.v1.events import MAX_WAIT
from chatcore_memory import MemoryStore
from tests.support.listening import SECONDS, Frame, Request, Scene, scene
from tests.support.soak import SOAK

pytestmark = pytest.mark.virtual_time

HEARTBEAT = Frame({"type": "heartbeat"})
SECOND = timedelta(seconds=1)


def end(reason: str) -> Frame:
    return Frame({"type": "end", "reason": reason})


def texts(events: list[Any]) -> list[str]:
    return [event["message"]["text"] for event in events]


async def bobs_cursor(room: Scene) -> Cursor:
    return await room.messenger.follow(room.users["bob"]).start()


# Events


async def test_stream_starts_at_the_end_of_the_log() -> None:
    async with scene() as room, room.stream() as stream:
        await stream.head()
        assert stream.status == 200
        assert stream.headers.items() >= {
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        }
        cursor = str(await bobs_cursor(room))
        assert await stream.frame() == Frame({"type": "start", "cursor": cursor})


async def test_stream_sends_events_as_they_happen() -> None:
    async with scene() as room, room.stream() as stream:
        begin = Cursor.parse((await stream.frame()).data["cursor"])
        assert begin is not None
        await room.send("one\ntwo\u2028three")
        sent = await stream.frame()
        assert (
            sent.data.pop("message").items()
            >= {
                "seq": 1,
                "sender": room.ann.name,
                "text": "one\ntwo\u2028three",
            }.items()
        )
        assert sent.data == {"type": "message", "chat_id": room.chat.id}
        assert sent.id == str(await bobs_cursor(room))
        await room.messenger.mark_read(room.users["bob"], room.chat, 1)
        assert await stream.frame() == Frame(
            {"type": "read", "chat_id": room.chat.id, "user": room.bob.name, "seq": 1}
            | {"handle": room.bob.name},
            str(await bobs_cursor(room)),
        )


async def test_both_users_receive_events() -> None:
    async with scene() as room, room.stream(by=room.ann) as anns, room.stream() as bobs:
        await anns.frame()
        await bobs.frame()
        await room.send("hello")
        for stream in (anns, bobs):
            assert texts([(await stream.frame()).data]) == ["hello"]


async def test_last_event_id_takes_precedence_over_after() -> None:
    async with scene() as room:
        await room.send("one", "two", "three")
        async with room.stream() as stream:
            end_of_log = Cursor.parse((await stream.frame()).data["cursor"])
        assert end_of_log is not None
        after_one = str(end_of_log.at(end_of_log.n - 2))
        for stream in (
            room.stream(last_event_id=after_one),
            room.stream("?after=nonsense", last_event_id=after_one),
            room.stream(f"?after={after_one}"),
            room.stream(f"?after={after_one}", last_event_id=""),
        ):
            async with stream:
                # No start frame: this client has its cursor.
                assert texts([(await stream.frame()).data for _ in "12"]) == ["two", "three"]


async def test_poll_returns_a_batch_and_its_cursor() -> None:
    async with scene() as room:
        cursor = (await room.poll().answer())["cursor"]
        await room.send(*map(str, range(PAGE + 1)))
        poll = room.poll(f"?after={cursor}")
        first = await poll.answer()
        assert (poll.headers[b"content-type"], poll.headers[b"cache-control"]) == (
            b"application/json",
            b"no-store",
        )
        assert texts(first["events"]) == list(map(str, range(PAGE)))
        second = await room.poll(f"?after={first['cursor']}&wait=30").answer()
        assert texts(second["events"]) == [str(PAGE)]
        third = await room.poll(f"?after={second['cursor']}").answer()
        assert third == {"events": [], "cursor": second["cursor"]}


async def test_poll_answers_at_the_first_event() -> None:
    async with scene() as room, room.poll(f"?wait={MAX_WAIT}") as poll:
        await waiting(room, 1)
        await room.send("hello")
        answer = await poll.answer()
        assert texts(answer["events"]) == ["hello"]
        assert answer["cursor"] == str(await bobs_cursor(room))


async def test_poll_answers_at_its_timeout() -> None:
    async with scene() as room, room.poll("?wait=1") as poll:
        assert (await poll.answer())["events"] == []


WRONG_QUERIES = [
    *("wait=31", "wait=-1", "wait=", "wait=1.5", "wait=%D9%A1"),
    *("wait=1&wait=1", "after=a&after=a"),
]


async def test_invalid_query_is_refused() -> None:
    async with scene() as room:
        for query in WRONG_QUERIES:
            for start in (room.poll, room.stream):
                request = start(f"?{query}")
                assert (await request.answer())["code"] == "invalid_page", query
                assert request.status == 400


async def test_client_that_does_not_accept_a_stream_gets_json() -> None:
    async with scene() as room:
        for accept in ("*/*", "text/*", "text/event-stream;q=0", "application/json", "", ",;"):
            assert (await room.poll(accept=accept).answer())["events"] == []
        for accept in ("application/json, text/event-stream", "Text/Event-Stream ; q=0.1"):
            async with room.stream(accept=accept) as stream:
                assert (await stream.frame()).data["type"] == "start"


# Invalid cursors


async def test_invalid_cursor_gets_a_reset() -> None:
    async with scene() as room:
        await room.send("one", "two")
        bobs = await bobs_cursor(room)
        anns = await room.messenger.follow(room.users["ann"]).start()
        await room.messenger.trim_logs(keep=1)
        for void in (
            "",
            "nonsense",
            str(anns),
            str(bobs._replace(user_id=999)),
            str(bobs._replace(log="another")),
            str(bobs.at(bobs.n + 1)),
            str(bobs.at(9_999_999_999_999_999_999)),
            str(bobs.at(0)),
            str(bobs.at(bobs.n - 2)),
        ):
            reset = {"type": "reset", "cursor": str(bobs)}
            answer = await room.poll(f"?after={void}&wait=30").answer()
            assert answer == {"events": [reset], "cursor": str(bobs)}, void
            async with room.stream(f"?after={void}") as stream:
                assert await stream.frame() == Frame(reset, str(bobs)), void
        newest = str(bobs.at(bobs.n - 1))
        assert texts((await room.poll(f"?after={newest}").answer())["events"]) == ["two"]


async def ask_after(room: Scene, text: str) -> None:
    query = "?after=" + "".join(f"%{byte:02x}" for byte in text.encode())
    assert (await room.poll(query).answer())["events"][0]["type"] == "reset"
    async with room.stream(query, last_event_id=text) as stream:
        assert (await stream.frame()).data["type"] == "reset"


def test_no_cursor_causes_an_error() -> None:
    async def opened() -> Scene:
        return await resources.enter_async_context(scene())

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        resources = AsyncExitStack()
        room = runner.run(opened())

        @given(st.text(st.characters(codec="latin-1")))
        def ask(text: str) -> None:
            runner.run(ask_after(room, text))

        ask()
        runner.run(resources.aclose())


async def test_log_trimmed_during_a_stream_gives_a_reset() -> None:
    async with scene(poll_seconds=0.05) as room, room.stream() as stream:
        await stream.frame()
        stream.reading.clear()
        await room.send(*map(str, range(3 * PAGE)))
        await room.messenger.trim_logs(keep=1)
        stream.reading.set()
        found = [await stream.frame()]
        while found[-1].data["type"] != "reset":
            found.append(await stream.frame())
        # The events before the reset have no gap.
        [*before, reset] = found
        assert texts([frame.data for frame in before]) == list(map(str, range(len(before))))
        assert reset.id == reset.data["cursor"] == str(await bobs_cursor(room))
        await room.send("on we go")
        assert texts([(await stream.frame()).data]) == ["on we go"]


# Ends


async def test_a_stream_ends_when_its_token_expires() -> None:
    clock = VirtualClock()
    async with scene(clock=clock, heartbeat_seconds=0.05) as room, room.stream() as stream:
        begin = (await stream.frame()).data["cursor"]
        clock.now += timedelta(hours=12) - SECOND
        await room.send("in time")
        assert texts([(await stream.event()).data]) == ["in time"]
        clock.now += SECOND
        await room.send("too late")
        assert await stream.event() == end("expired")
        await stream.ended()
        # The event after the expiry is still in the log.
        assert (await room.stream().head()).status == 401
        missed = await room.messenger.follow(room.users["bob"], after=begin).batch(0)
        assert [str(event.cursor) for event in missed][-1] == str(await bobs_cursor(room))
        assert len(missed) == 2


async def test_a_silent_stream_ends_when_its_token_expires() -> None:
    loop = asyncio.get_running_loop()
    start = datetime(2030, 1, 1, tzinfo=UTC)
    shift = timedelta()
    clock = lambda: start + shift + loop.time() * SECOND  # noqa: E731
    async with scene(clock=clock) as room, room.stream() as stream:
        await stream.frame()
        stream.leave()
        shift = timedelta(hours=12, seconds=-2)
        async with room.stream() as another:
            await another.frame()
            before = loop.time()
            assert await another.frame() == end("expired")
            assert loop.time() - before == pytest.approx(2, abs=0.01)
            await another.ended()


async def test_poll_ends_when_its_token_expires() -> None:
    clock = VirtualClock()
    async with scene(clock=clock) as room:
        clock.now += timedelta(hours=12) - SECOND / 10
        async with room.poll("?wait=30") as poll:
            assert (await poll.answer())["events"] == []


async def test_silence_is_broken_by_heartbeats() -> None:
    async with scene(heartbeat_seconds=0.05) as room, room.stream() as stream:
        await stream.frame()
        assert await stream.frame() == HEARTBEAT
        assert await stream.frame() == HEARTBEAT
        await room.send("hello")
        assert texts([(await stream.event()).data]) == ["hello"]
    async with scene(heartbeat_seconds=60) as room, room.stream() as stream:
        await stream.frame()
        await room.send("hello")
        assert texts([(await stream.frame()).data]) == ["hello"]


async def test_stream_has_a_maximum_age() -> None:
    async with scene(max_age_seconds=0.1) as room, room.stream() as stream:
        assert (await stream.frame()).data["type"] == "start"
        assert await stream.event() == end("age")
        await stream.ended()
    async with scene() as room:
        lifetimes = [room.streams.lifetime() for _ in range(1000)]
        assert 2880 <= min(lifetimes) < 2960 < 3520 < max(lifetimes) <= 3600


async def test_streams_and_polls_end_when_the_server_stops() -> None:
    async with scene() as room:
        tasks = asyncio.all_tasks()
        streams = [room.stream() for _ in range(3)]
        polls = [room.poll("?wait=30") for _ in range(3)]
        for stream in streams:
            await stream.frame()
        await waiting(room, 6)
        room.streams.end_all()
        room.streams.end_all()
        for stream in streams:
            assert await stream.frame() == end("shutdown")
            await stream.ended()
        cursor = str(await bobs_cursor(room))
        for poll in polls:
            assert await poll.answer() == {"events": [], "cursor": cursor}
            assert poll.status == 200
        for late in (room.stream(), room.poll("?wait=1")):
            assert (await late.answer())["code"] == "overloaded"
            assert (late.status, late.headers[b"retry-after"]) == (503, b"1")
        assert room.streams.under_way == room.doorbell.listeners == 0
        # No task waits for the clients, which are still connected.
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == tasks


async def test_client_may_disconnect_at_any_moment_of_the_shutdown() -> None:
    for turns in range(8) if SOAK else (0, 1, 2, 3, 5):
        async with scene() as room, room.stream() as stream, room.stream() as other:
            await stream.frame()
            await other.frame()
            stream.leave()
            for _ in range(turns):
                await asyncio.sleep(0)
            room.streams.end_all()
            assert await other.frame() == end("shutdown")


async def test_disconnected_clients_leak_nothing() -> None:
    async with scene() as room:
        before = asyncio.all_tasks()
        for n in range(100):
            requests: list[Request] = [room.stream(), room.poll("?wait=30")]
            if n % 2:
                await waiting(room, 2)
            for request in requests:
                request.leave()
            await asyncio.gather(*(request.task for request in requests))
            assert room.streams.under_way == room.doorbell.listeners == 0
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before


async def test_request_over_the_limit_ends_the_oldest() -> None:
    async with scene(per_user=3) as room:
        poll = room.poll("?wait=30")
        await waiting(room, 1)
        streams = [room.stream() for _ in range(4)]
        for stream in streams:
            assert (await stream.frame()).data["type"] == "start"
        assert (await poll.answer())["code"] == "too_many_requests"
        assert (poll.status, poll.headers[b"retry-after"]) == (429, b"1")
        assert await streams[0].frame() == end("replaced")
        await streams[0].ended()
        # Ann's streams are counted separately.
        async with room.stream(by=room.ann) as anns:
            await anns.frame()
            await room.send("hello")
            for stream in (anns, *streams[1:]):
                assert texts([(await stream.frame()).data]) == ["hello"]
        # A closed stream frees its place.
        streams[1].leave()
        await streams[1].task
        async with room.stream() as another:
            await another.frame()
            await room.send("again")
            assert texts([(await streams[2].frame()).data]) == ["again"]
        for stream in streams:
            stream.leave()
        await asyncio.gather(*(stream.task for stream in streams))


# Slow readers


class CountingStore(MemoryStore):
    """Counts the reads of event logs."""

    def __init__(self) -> None:
        super().__init__()
        self.readings = 0

    async def events_after(self, after: Cursor, *, limit: int) -> Any:
        self.readings += 1
        return await super().events_after(after, limit=limit)


async def test_stalled_reader_is_dropped_without_delaying_others() -> None:
    store = CountingStore()
    async with (
        scene(store, poll_seconds=60, send_seconds=0.2) as room,
        room.stream(by=room.ann) as other,
    ):
        stalled = room.stream()
        await stalled.frame()
        await other.frame()
        stalled.reading.clear()
        await room.send("first")
        # One page is in flight to the stalled reader; the rest stays in the log.
        for n in range(3 * PAGE):
            await room.send(str(n))
            assert texts([(await other.frame()).data]) == [str(n - 1) if n else "first"]
        async with asyncio.timeout(SECONDS):
            await stalled.task
        assert not stalled.whole
        assert room.streams.under_way == room.doorbell.listeners == 1
        before = store.readings
        await room.send("last")
        while (await other.frame()).data["message"]["text"] != "last":
            pass
        assert store.readings - before <= 3


async def test_a_large_page_goes_out_in_chunks() -> None:
    async with scene() as room:
        cursor = await bobs_cursor(room)
        await room.send(*["x" * 4000] * (PAGE + 1))
        async with room.stream(f"?after={cursor}") as stream:
            found = [(await stream.frame()).data for _ in range(PAGE + 1)]
            assert texts(found) == ["x" * 4000] * (PAGE + 1)
            assert CHUNK / 2 < max(map(len, stream.chunks)) <= CHUNK


async def test_a_long_backlog_takes_turns_with_other_work() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    class Noted(list[bytes]):
        def append(self, chunk: bytes) -> None:
            super().append(chunk)
            moments.append(turns)

    moments: list[int] = []
    async with scene() as room:
        cursor = await bobs_cursor(room)
        await room.send(*map(str, range(4 * PAGE)))
        stream = room.stream(f"?after={cursor}")
        stream.chunks = Noted()
        task = asyncio.create_task(others())
        for n in range(4 * PAGE):
            assert texts([(await stream.frame()).data]) == [str(n)]
        task.cancel()
        assert len(set(moments)) == len(moments) == 4
        stream.leave()
        await stream.task


# A store that fails


class FailingStore(MemoryStore):
    failing = False

    async def events_after(self, after: Cursor, *, limit: int) -> Any:
        if self.failing:
            raise StoreUnavailable("the disk is gone")
        return await super().events_after(after, limit=limit)


async def test_failing_store_closes_the_stream_and_the_next_request_gets_a_503(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FailingStore()
    async with scene(store) as room:
        with caplog.at_level(logging.WARNING):
            stream = room.stream()
            await stream.frame()
            store.failing = True
            await room.send("hello")
            await stream.ended()
        assert len(caplog.records) == 1
        for late in (room.stream(), room.poll(), room.poll("?wait=1")):
            assert (await late.answer())["code"] == "store_unavailable"
            assert (late.status, late.headers[b"retry-after"]) == (503, b"1")
        assert room.streams.under_way == room.doorbell.listeners == 0


async def waiting(room: Scene, count: int) -> None:
    """Wait until `count` listeners are registered."""
    async with asyncio.timeout(SECONDS):
        while room.doorbell.listeners != count:  # noqa: ASYNC110  no event is set
            # Not 0: the virtual clock would never reach the timeout.
            await asyncio.sleep(0.001)
