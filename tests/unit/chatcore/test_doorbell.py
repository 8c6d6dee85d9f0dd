"""The doorbell of one event loop, beyond the conformance checks; and failing doorbells, which may
delay an event but lose none."""

import asyncio
import random
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable

import pytest

from chatcore import (
    Following,
    LocalDoorbell,
    MessageSent,
    Messenger,
    NewMessage,
    User,
)
from chatcore.following import POLL_SECONDS
from chatcore_memory import MemoryStore
from tests.support.following import BadDoorbell

pytestmark = pytest.mark.virtual_time


class Listener:
    def __init__(self) -> None:
        self.heard = 0

    def wake(self) -> None:
        self.heard += 1


def test_ring_wakes_listeners_before_it_returns() -> None:
    doorbell, listener = LocalDoorbell(), Listener()
    leave = doorbell.listen(1, listener.wake)
    for count in (1, 2):
        doorbell.ring([1])
        assert listener.heard == count
    doorbell.ring([1, 1])
    assert listener.heard == 4
    leave()


def test_callback_registered_twice_is_called_twice() -> None:
    doorbell, listener = LocalDoorbell(), Listener()
    leaves = [doorbell.listen(1, listener.wake) for _ in range(2)]
    for leave, count in zip(leaves, (2, 3), strict=True):
        doorbell.ring([1])
        assert listener.heard == count
        leave()
    doorbell.ring([1])
    assert listener.heard == 3


def test_callback_registered_during_a_ring_is_kept() -> None:
    doorbell, early, late = LocalDoorbell(), Listener(), Listener()
    leaves: list[Callable[[], None]] = []

    def leave_and_come_back() -> None:
        early.wake()
        leaves.pop()()
        leaves.append(doorbell.listen(1, late.wake))

    leaves.append(doorbell.listen(1, leave_and_come_back))
    doorbell.ring([1])
    doorbell.ring([1])
    assert (early.heard, late.heard) == (1, 1)


def test_unsubscribed_callback_is_released() -> None:
    doorbell, listener = LocalDoorbell(), Listener()
    gone = weakref.ref(listener)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(5000):
            leaves = [doorbell.listen(n, listener.wake) for _ in range(2)]
            for leave in leaves:
                leave()
        del leaves, leave, listener
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert gone() is None
    assert after - before < 20_000


async def follow_and_time(
    following: Following, sender: Callable[[int], Awaitable[object]], count: int
) -> float:
    """Send `count` messages at random times, and return the longest delay of an event."""
    loop = asyncio.get_running_loop()
    await following.start()
    sent: list[float] = []
    chance = random.Random(count)

    async def talk() -> None:
        for n in range(count):
            await asyncio.sleep(chance.choice((0, 0, 0.01, 1, 7)))
            sent.append(loop.time())
            await sender(n)

    task = asyncio.create_task(talk())
    longest = 0.0
    for seq in range(1, count + 1):
        event = await anext(following)
        assert isinstance(event, MessageSent)
        assert event.message.seq == seq
        longest = max(longest, loop.time() - sent[seq - 1])
    await task
    return longest


@pytest.mark.parametrize("seed", range(10))
async def test_unreliable_rings_delay_no_event_beyond_the_polling_interval(
    store: MemoryStore, ann: User, bob: User, seed: int
) -> None:
    messenger = Messenger(store, doorbell=BadDoorbell(seed), poll_seconds=3)
    chat = await messenger.open_chat(ann, bob)
    following = messenger.follow(bob)

    async def sender(n: int) -> None:
        await messenger.send(chat.users[n % 2], chat, f"{n}")

    longest = await follow_and_time(following, sender, 200)
    assert 0 < longest <= 3 + 1e-6


async def test_event_of_another_process_arrives_within_the_polling_interval(
    store: MemoryStore, ann: User, bob: User
) -> None:
    chat = await store.open_chat(ann.id, bob.id, 0)
    following = Messenger(store).follow(bob)

    async def sender(n: int) -> None:
        await store.append_message(NewMessage(chat.id, ann.id, f"{n}", 0))

    longest = await follow_and_time(following, sender, 100)
    assert 0 < longest <= POLL_SECONDS + 1e-6
