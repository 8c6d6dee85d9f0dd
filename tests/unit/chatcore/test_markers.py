"""Read markers are paced, so that moves cannot flood an event log."""

import asyncio
import gc
import random
from itertools import pairwise

import pytest

from chatcore import (
    Chat,
    ChatNotFound,
    Event,
    InvalidSeq,
    MarkerMoved,
    Messenger,
    StoreUnavailable,
    User,
    UserName,
)
from chatcore_memory import MemoryStore
from tests.support.following import WatchedDoorbell
from tests.support.virtual_time import pending_timers

pytestmark = pytest.mark.virtual_time

BEYOND = 2**63 - 1


class SlowStore(MemoryStore):
    """Takes `seconds` to move a marker, and then fails the next `failures` moves."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self.failures = 0
        self.moves: list[tuple[float, int]] = []

    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        self.moves.append((asyncio.get_running_loop().time(), seq))
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the disk is gone")
        return await super().move_read_marker(chat_id, user_id, seq, moved_us)


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
async def chat(messenger: Messenger, doorbell: WatchedDoorbell, ann: User, bob: User) -> Chat:
    chat = await messenger.open_chat(ann, bob)
    for n in range(1, 101):
        await messenger.send(ann, chat, f"{n}")
    doorbell.rung.clear()
    return chat


async def logged(messenger: Messenger, user: User) -> list[int]:
    """The marker positions in the user's event log."""
    start = (await messenger.sync(user)).cursor.at(0)
    following = messenger.follow(user, after=start)
    events: list[Event] = []
    while batch := await following.batch(0):
        events += batch
    return [event.seq for event in events if isinstance(event, MarkerMoved)]


def now() -> float:
    return asyncio.get_running_loop().time()


def mark(messenger: Messenger, user: User, chat: Chat, seq: int) -> "asyncio.Task[int]":
    return asyncio.create_task(messenger.mark_read(user, chat, seq))


async def test_first_move_is_immediate_and_the_next_waits_a_second(
    messenger: Messenger, bob: User, chat: Chat
) -> None:
    begin = now()
    assert await messenger.mark_read(bob, chat, 3) == 3
    assert now() == begin
    await asyncio.sleep(0.4)
    assert await messenger.mark_read(bob, chat, 5) == 5
    assert now() - begin == pytest.approx(1)
    await asyncio.sleep(3)
    assert await messenger.mark_read(bob, chat, 6) == 6
    assert now() - begin == pytest.approx(4)


async def test_move_to_an_older_seq_returns_at_once(
    messenger: Messenger, store: SlowStore, doorbell: WatchedDoorbell, bob: User, chat: Chat
) -> None:
    await messenger.mark_read(bob, chat, 10)
    begin = now()
    for seq in (10, 9, 0, 10):
        assert await messenger.mark_read(bob, chat, seq) == 10
    assert now() == begin
    assert len(store.moves) == 1
    assert doorbell.rung == [user.id for user in chat.users]


@pytest.mark.parametrize("seconds", [0, 0.3, 2.5])
async def test_flood_moves_the_marker_once_a_second_up_to_the_newest(
    messenger: Messenger, store: SlowStore, ann: User, bob: User, chat: Chat, seconds: float
) -> None:
    store.seconds = seconds
    chance = random.Random(1)
    calls: list[tuple[int, asyncio.Task[int]]] = []
    for n in range(600):
        seq = min(n // 6 + chance.randrange(3), 100)
        calls.append((seq, mark(messenger, bob, chat, seq)))
        await asyncio.sleep(0.01)
    for seq, task in calls:
        assert seq <= await task <= 100
    markers = await logged(messenger, ann)
    assert markers == sorted({*markers})
    assert markers[-1] == 100
    assert markers == await logged(messenger, bob)
    moments = [moment for moment, _ in store.moves]
    assert all(b - a >= 1 - 1e-6 for a, b in pairwise(moments))
    assert len(markers) <= 8
    assert pending_timers() == 0


async def test_waiting_callers_share_one_move(
    messenger: Messenger, store: SlowStore, bob: User, chat: Chat
) -> None:
    store.seconds = 0.1
    begin = now()
    first = mark(messenger, bob, chat, 1)
    await asyncio.sleep(0.01)
    # Beyond the last message: the store limits the marker.
    tasks = [mark(messenger, bob, chat, seq) for seq in (5, 7, BEYOND, 6, 101, 99)]
    assert await first == 1
    assert await asyncio.gather(*tasks) == [100] * 6
    assert now() - begin == pytest.approx(1.1)
    assert len(store.moves) == 2
    # A call during a move is served by the next move.
    late = mark(messenger, bob, chat, BEYOND)
    assert await late == 100
    assert now() - begin == pytest.approx(2.1)


async def test_each_chat_and_user_is_paced_separately(
    messenger: Messenger, ann: User, bob: User, chat: Chat, store: SlowStore
) -> None:
    eve = await store.add_user(UserName("Eve"), "", 0)
    other = await messenger.open_chat(bob, eve)
    await messenger.send(eve, other, "hello")
    begin = now()
    assert await messenger.mark_read(bob, chat, 1) == 1
    assert await messenger.mark_read(bob, other, 1) == 1
    assert await messenger.mark_read(ann, chat, 2) == 2
    assert now() == begin


async def test_failure_is_raised_to_all_waiting_callers_and_blocks_no_later_move(
    messenger: Messenger, store: SlowStore, doorbell: WatchedDoorbell, bob: User, chat: Chat
) -> None:
    store.seconds = 0.1
    await messenger.mark_read(bob, chat, 1)
    doorbell.rung.clear()
    store.failures = 1
    begin = now()
    tasks = [mark(messenger, bob, chat, seq) for seq in (5, 7, 6)]
    for task in tasks:
        with pytest.raises(StoreUnavailable, match="the disk is gone"):
            await task
    assert now() - begin == pytest.approx(1)
    assert doorbell.rung == []
    assert await messenger.mark_read(bob, chat, 4) == 4
    assert [seq for _, seq in store.moves] == [1, 7, 4]
    assert doorbell.rung == [user.id for user in chat.users]


async def test_cancelled_caller_does_not_delay_others(
    messenger: Messenger, store: SlowStore, bob: User, chat: Chat
) -> None:
    store.seconds = 0.1
    await messenger.mark_read(bob, chat, 1)
    tasks = [mark(messenger, bob, chat, seq) for seq in range(2, 42)]
    for task in tasks[::2]:
        # During the one-second wait, during its own move, or during another's.
        await asyncio.sleep(0.05)
        task.cancel()
    done, _ = await asyncio.wait(tasks)
    answers = [task.result() for task in tasks if not task.cancelled()]
    assert len(done) == 40
    assert len(answers) >= 20
    assert min(answers) >= 40
    assert pending_timers() == 0
    assert await messenger.mark_read(bob, chat, 50) == 50


@pytest.mark.parametrize("moment", [0.0, 0.5, 0.95])
async def test_move_of_a_cancelled_caller_still_serves_the_others(
    messenger: Messenger, store: SlowStore, bob: User, chat: Chat, moment: float
) -> None:
    """The caller is cancelled before the move begins, or while it runs."""
    store.seconds = 0.1
    await messenger.mark_read(bob, chat, 1)
    begin = now()
    tasks = [mark(messenger, bob, chat, seq) for seq in (9, 3, 4)]
    await asyncio.sleep(moment)
    tasks[0].cancel()
    assert await asyncio.gather(*tasks[1:]) == [9, 9]
    assert now() - begin <= 2.1
    assert tasks[0].cancelled()


async def test_marker_of_an_empty_chat_stays_at_zero(
    messenger: Messenger, doorbell: WatchedDoorbell, store: SlowStore, ann: User
) -> None:
    eve = await store.add_user(UserName("Eve"), "", 0)
    chat = await messenger.open_chat(ann, eve)
    for seq in (0, 1, BEYOND):
        assert await messenger.mark_read(ann, chat, seq) == 0
    assert await logged(messenger, eve) == []


async def test_unchanged_marker_rings_no_doorbell(
    messenger: Messenger, doorbell: WatchedDoorbell, bob: User, chat: Chat
) -> None:
    both = [user.id for user in chat.users]
    await messenger.mark_read(bob, chat, 100)
    assert doorbell.rung == both
    for seq in (BEYOND, 100, 101):
        await messenger.mark_read(bob, chat, seq)
    assert doorbell.rung == both


@pytest.mark.parametrize("seq", [-1, 2**63, -(2**70), 2**70])
async def test_seq_out_of_range_is_refused(
    messenger: Messenger, bob: User, chat: Chat, seq: int
) -> None:
    with pytest.raises(InvalidSeq):
        await messenger.mark_read(bob, chat, seq)


async def test_non_member_cannot_move_a_marker(
    messenger: Messenger, store: SlowStore, bob: User, chat: Chat
) -> None:
    eve = await store.add_user(UserName("Eve"), "", 0)
    with pytest.raises(ChatNotFound):
        await messenger.mark_read(eve, chat, 1)
    assert store.moves == []
    nowhere = Chat(99, chat.users)
    for _ in range(2):
        with pytest.raises(ChatNotFound):
            await messenger.mark_read(bob, nowhere, 1)


async def test_pace_cache_is_bounded_and_every_chat_moves(
    monkeypatch: pytest.MonkeyPatch, messenger: Messenger, store: SlowStore, ann: User
) -> None:
    monkeypatch.setattr("chatcore.markers.MAX_PACES", 8)
    before = sum(isinstance(it, asyncio.Lock) for it in gc.get_objects())
    chats = []
    for n in range(20):
        peer = await store.add_user(UserName(f"peer {n}"), "", 0)
        chats.append(await messenger.open_chat(ann, peer))
        for text in "abc":
            await messenger.send(peer, chats[-1], text)
    for seq in (1, 3, 2):
        tasks = [mark(messenger, ann, chat, seq) for chat in chats]
        assert await asyncio.gather(*tasks) == [1 if seq == 1 else 3] * 20
        await asyncio.sleep(1)
    gc.collect()
    # Each pace holds a lock, so locks count the paces.
    assert sum(isinstance(it, asyncio.Lock) for it in gc.get_objects()) <= before + 8
