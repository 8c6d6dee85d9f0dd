"""Following a user's event log: missed events, then live events, in log order, each once."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest

from chatcore import (
    Chat,
    ChatOpened,
    Cursor,
    Event,
    Following,
    MarkerMoved,
    MessageSent,
    Messenger,
    Reset,
    StoreUnavailable,
    User,
)
from chatcore.following import POLL_SECONDS
from tests.support.following import WatchedDoorbell, WatchedStore
from tests.support.virtual_time import pending_timers

pytestmark = pytest.mark.virtual_time

PAGE = 100


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


async def send(messenger: Messenger, chat: Chat, count: int) -> None:
    for n in range(count):
        await messenger.send(chat.users[n % 2], chat, f"{n}")


async def take(following: Following, count: int) -> list[Event]:
    return [await anext(following) for _ in range(count)]


def seqs(events: list[Event]) -> list[int]:
    return [event.message.seq for event in events if isinstance(event, MessageSent)]


def places(events: list[Event]) -> list[int]:
    return [event.cursor.n for event in events]


async def waiting(following: Following) -> asyncio.Task[Event]:
    """Return a task that waits for the next event."""

    async def next_event() -> Event:
        return await anext(following)

    task = asyncio.create_task(next_event())
    await asyncio.sleep(0.1)
    assert not task.done()
    return task


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_missed_events_come_before_live_ones(
    messenger: Messenger, bob: User, chat: Chat
) -> None:
    start = (await messenger.sync(bob)).cursor
    await send(messenger, chat, 3)
    events: list[Event] = []
    async for event in messenger.follow(bob, after=start):
        events.append(event)
        if len(events) >= 3:
            await send(messenger, chat, 1)
        if len(events) == 8:
            break
    assert seqs(events) == [*range(1, 9)]
    assert places(events) == [*range(start.n + 1, start.n + 9)]
    resumed = messenger.follow(bob, after=str(events[4].cursor))
    assert await take(resumed, 3) == events[5:]


async def test_following_without_a_cursor_starts_at_the_first_wait(
    messenger: Messenger, bob: User, chat: Chat
) -> None:
    following = messenger.follow(bob)
    await send(messenger, chat, 2)
    task = await waiting(following)
    await send(messenger, chat, 1)
    assert seqs([await task]) == [3]
    started = messenger.follow(bob)
    cursor = await started.start()
    assert cursor == (await messenger.sync(bob)).cursor
    await send(messenger, chat, 1)
    assert await started.start() == cursor
    assert seqs(await take(started, 1)) == [4]


async def test_event_arrives_at_once(messenger: Messenger, ann: User, bob: User) -> None:
    loop = asyncio.get_running_loop()
    following = messenger.follow(bob)

    async def next_after(step: Awaitable[Any]) -> tuple[Any, Event]:
        task = await waiting(following)
        before = loop.time()
        done, event = await step, await task
        assert loop.time() == before
        return done, event

    chat, opened = await next_after(messenger.open_chat(ann, bob))
    message, sent = await next_after(messenger.send(ann, chat, "hello"))
    _, moved = await next_after(messenger.mark_read(bob, chat, 1))
    assert opened == ChatOpened(opened.cursor, chat)
    assert sent == MessageSent(sent.cursor, chat, message)
    assert moved == MarkerMoved(moved.cursor, chat, bob, 1)


async def test_event_during_a_read_of_the_log_arrives_at_once(
    messenger: Messenger, store: WatchedStore, bob: User, chat: Chat
) -> None:
    loop = asyncio.get_running_loop()
    store.turns = 5
    for turns in range(30):
        following = messenger.follow(bob)
        await following.start()
        task = asyncio.ensure_future(take(following, 1))
        for _ in range(turns):
            await asyncio.sleep(0)
        before = loop.time()
        await send(messenger, chat, 1)
        assert seqs(await task) == [turns + 1]
        assert loop.time() == before


@pytest.mark.parametrize("lost", [False, True], ids=["rung", "lost"])
@pytest.mark.parametrize("seconds", [0, 0.5, POLL_SECONDS, 2.5 * POLL_SECONDS, 3600])
async def test_empty_batch_returns_at_its_deadline(
    store: WatchedStore, bob: User, seconds: float, lost: bool
) -> None:
    loop = asyncio.get_running_loop()
    doorbell = WatchedDoorbell()
    following = Messenger(store, doorbell=doorbell).follow(bob)
    begin = loop.time()
    if not lost and seconds:
        # Rings without an event.
        for n in range(10):
            loop.call_later(seconds / 10 * n, doorbell.ring, (bob.id,))
    assert await following.batch(seconds) == ()
    assert loop.time() - begin == pytest.approx(seconds, abs=1e-6)
    assert doorbell.listening == pending_timers() == 0


async def test_batch_holds_up_to_100_events(messenger: Messenger, bob: User, chat: Chat) -> None:
    following = messenger.follow(bob)
    await following.start()
    await send(messenger, chat, PAGE + 20)
    assert seqs([*await following.batch(0)]) == [*range(1, PAGE + 1)]
    assert seqs([*await following.batch()]) == [*range(PAGE + 1, PAGE + 21)]
    assert await following.batch(0) == ()
    begin = asyncio.get_running_loop().time()
    asyncio.get_running_loop().call_later(7, asyncio.ensure_future, send(messenger, chat, 1))
    assert seqs([*await following.batch(30)]) == [PAGE + 21]
    assert asyncio.get_running_loop().time() - begin == pytest.approx(7)


async def test_slow_consumer_holds_one_page_and_loses_nothing(
    messenger: Messenger, store: WatchedStore, doorbell: WatchedDoorbell, bob: User, chat: Chat
) -> None:
    following = messenger.follow(bob)
    await following.start()
    events: list[Event] = []
    for n in range(1000):
        await send(messenger, chat, 1)
        if n % 50 == 0:
            events += await take(following, 1)
            assert doorbell.listening == pending_timers() == 0
    assert set(store.readings) == {PAGE}
    # Twenty slow steps read at most twenty pages.
    assert len(store.readings) <= 20
    events += await take(following, 980)
    assert seqs(events) == [*range(1, 1001)]


async def test_consumer_slower_than_trimming_gets_a_reset(
    messenger: Messenger, bob: User, chat: Chat
) -> None:
    following = messenger.follow(bob)
    await following.start()
    await send(messenger, chat, PAGE + 50)
    first = await take(following, 1)
    await messenger.trim_logs(keep=20)
    rest = await take(following, PAGE)
    assert seqs(first + rest[:-1]) == [*range(1, PAGE + 1)]
    assert rest[-1] == Reset((await messenger.sync(bob)).cursor)
    await send(messenger, chat, 1)
    assert seqs(await take(following, 1)) == [PAGE + 51]


async def test_leaving_the_loop_leaks_nothing(
    messenger: Messenger, doorbell: WatchedDoorbell, bob: User, chat: Chat
) -> None:
    before = asyncio.all_tasks()
    tasks = [await waiting(messenger.follow(bob)) for _ in range(3)]
    assert doorbell.listening == 3
    for task in tasks[:2]:
        await cancel(task)
    assert doorbell.listening == 1
    await send(messenger, chat, 1)
    assert seqs([await tasks[2]]) == [1]
    assert doorbell.listening == pending_timers() == 0
    assert asyncio.all_tasks() == before


async def test_a_cancelled_wait_loses_nothing(
    messenger: Messenger, store: WatchedStore, doorbell: WatchedDoorbell, bob: User, chat: Chat
) -> None:
    store.turns = 2
    following = messenger.follow(bob)
    await following.start()
    events: list[Event] = []
    for turns in range(40):
        await send(messenger, chat, 1)
        task = asyncio.ensure_future(take(following, 1))
        for _ in range(turns % 13):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            events += task.result()
        assert doorbell.listening == pending_timers() == 0
    missing = (await messenger.sync(bob)).cursor.n - (events[-1].cursor.n if events else 1)
    assert 0 < missing < 40, "some were cancelled, and some were not"
    events += await take(following, missing)
    assert seqs(events) == [*range(1, 41)]


async def test_a_timeout_loses_nothing(messenger: Messenger, bob: User, chat: Chat) -> None:
    following = messenger.follow(bob)
    loop = asyncio.get_running_loop()
    events: list[Event] = []
    await following.start()
    for n in range(20):
        loop.call_later(1 + n * 0.7, asyncio.ensure_future, send(messenger, chat, 1))
    end = loop.time() + 20
    while loop.time() < end:
        try:
            async with asyncio.timeout(0.35):
                events += await take(following, 1)
        except TimeoutError:
            continue
    assert seqs(events) == [*range(1, 21)]


@pytest.mark.parametrize(
    "void",
    [
        lambda end: "nonsense",
        lambda end: "",
        lambda end: str(end) + "0",
        lambda end: f"{end.log}-{end.user_id}-{2**63}",
        lambda end: end._replace(log="elsewhere"),
        lambda end: str(end._replace(log="elsewhere")),
        lambda end: end._replace(log="", user_id=0, n=0),
        lambda end: end._replace(user_id=end.user_id + 1),
        lambda end: end._replace(user_id=end.user_id + 1, n=0),
        lambda end: end.at(end.n + 1),
        lambda end: str(end.at(2**63 - 1)),
        lambda end: end._replace(mark=end.mark ^ 1),
        lambda end: str(end._replace(mark=end.mark ^ 1)),
        lambda end: end.at(1),
        lambda end: end.at(0),
    ],
)
async def test_invalid_cursor_gives_a_reset(
    messenger: Messenger, ann: User, bob: User, chat: Chat, void: Any
) -> None:
    await send(messenger, chat, 5)
    await messenger.trim_logs(keep=2)
    end = (await messenger.sync(ann)).cursor
    following = messenger.follow(ann, after=void(end))
    assert await take(following, 1) == [Reset(end)]
    assert await following.batch(0) == ()
    await send(messenger, chat, 1)
    [event] = await take(following, 1)
    assert seqs([event]) == [6]
    assert event.cursor.n == end.n + 1


async def test_cursor_of_a_reset_can_be_followed(
    messenger: Messenger, ann: User, chat: Chat
) -> None:
    [reset] = await take(messenger.follow(ann, after="void"), 1)
    await send(messenger, chat, 1)
    assert seqs(await take(messenger.follow(ann, after=reset.cursor), 1)) == [1]


async def test_store_error_is_raised_and_following_can_be_retried(
    messenger: Messenger, store: WatchedStore, doorbell: WatchedDoorbell, bob: User, chat: Chat
) -> None:
    following = messenger.follow(bob)
    store.failures = 2
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await anext(following)
    await following.start()
    await send(messenger, chat, 1)
    store.failures = 1
    with pytest.raises(StoreUnavailable):
        await anext(following)
    assert seqs(await take(following, 1)) == [1]
    # A wait also ends with the error if the next read fails.
    task = await waiting(following)
    store.failures = 1
    await send(messenger, chat, 1)
    with pytest.raises(StoreUnavailable):
        await task
    assert doorbell.listening == pending_timers() == 0
    assert seqs(await take(following, 1)) == [2]
    void = messenger.follow(bob, after=Cursor("void", bob.id, 0))
    store.failures = 1
    with pytest.raises(StoreUnavailable):
        await anext(void)
    assert [type(event) for event in await take(void, 1)] == [Reset]


async def test_all_followers_of_a_user_see_every_event(
    messenger: Messenger, doorbell: WatchedDoorbell, ann: User, bob: User, chat: Chat
) -> None:
    followings = [messenger.follow(user) for user in (ann, bob, bob, ann, bob)]
    for following in followings:
        await following.start()
    tasks = [asyncio.ensure_future(take(following, 30)) for following in followings]
    for _ in range(10):
        await send(messenger, chat, 3)
        await asyncio.sleep(0.01)
    for task in tasks:
        assert seqs(await task) == [*range(1, 31)]
    assert doorbell.listening == pending_timers() == 0


async def test_idle_follower_reads_once_per_polling_interval(
    store: WatchedStore, bob: User
) -> None:
    following = Messenger(store, poll_seconds=4).follow(bob)
    assert await following.batch(timedelta(hours=1).total_seconds()) == ()
    assert 900 <= len(store.readings) <= 902


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_polling_interval_must_be_positive(store: WatchedStore, seconds: float) -> None:
    with pytest.raises(ValueError, match="poll_seconds"):
        Messenger(store, poll_seconds=seconds)
