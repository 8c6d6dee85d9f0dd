"""The messages between the doorbells of several nodes, over a bus in memory."""

import asyncio
import gc
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self

import pytest

from chatcore.bus import MESSAGE_BYTES, BusDoorbell, Link

pytestmark = pytest.mark.virtual_time

SECONDS = 60


class MemoryBus:
    """A bus that can fail, lose messages, and stall."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.deaf = False
        self.leaving_fails = False
        self.flows = asyncio.Event()
        self.flows.set()
        self.attempts = 0
        self.links: list[MemoryLink] = []

    @asynccontextmanager
    async def connect(self, heard: Callable[[bytes], None]) -> AsyncIterator[Link]:
        self.attempts += 1
        self.links.append(MemoryLink(self, heard))
        try:
            yield self.links[-1]
        finally:
            if self.leaving_fails:
                raise OSError("no answer")

    def say(self, message: bytes) -> None:
        for link in self.links:
            link.hear(message)

    async def doorbell(self, patience: float = 5) -> BusDoorbell:
        return await BusDoorbell(self.connect, "a bus", patience=patience).start()


class MemoryLink:
    def __init__(self, bus: MemoryBus, heard: Callable[[bytes], None]) -> None:
        self._bus = bus
        self._heard = heard
        self._broken = asyncio.get_running_loop().create_future()
        self._runs = False

    def fail(self, error: Exception) -> None:
        self._broken.set_exception(error)

    def cancel(self) -> None:
        self._broken.cancel()

    def hear(self, message: bytes) -> None:
        if self._runs:
            self._heard(message)

    async def send(self, message: bytes) -> None:
        await self._bus.flows.wait()
        self._bus.said.append(message)
        if not self._bus.deaf:
            self._bus.say(message)

    async def run(self) -> None:
        self._runs = True
        try:
            await self._broken
        finally:
            self._runs = False


class Listener:
    """Counts the rings for one user."""

    def __init__(self, doorbell: BusDoorbell, user_id: int) -> None:
        self.heard = 0
        self._woken = asyncio.Event()
        self.leave = doorbell.listen(user_id, self._wake)

    def _wake(self) -> None:
        self.heard += 1
        self._woken.set()

    async def is_woken(self) -> Self:
        async with asyncio.timeout(SECONDS):
            await self._woken.wait()
        self._woken.clear()
        return self


def users_of(message: bytes) -> set[int]:
    _version, _node, *user_ids = message.split()
    return set(map(int, user_ids))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 (no event is set)
            # Not 0: the virtual clock would never reach the timeout.
            await asyncio.sleep(0.001)


async def test_rings_of_one_loop_iteration_are_one_message() -> None:
    bus = MemoryBus()
    async with await bus.doorbell() as here, await bus.doorbell() as there:
        listener = Listener(there, 3)
        bus.said.clear()
        for user_id in (1, 2, 2, 3, 1):
            here.ring([user_id])
        await listener.is_woken()
        assert [users_of(message) for message in bus.said] == [{1, 2, 3}]
        assert listener.heard == 1


async def test_rings_during_a_message_are_in_the_next() -> None:
    bus = MemoryBus()
    async with await bus.doorbell() as here, await bus.doorbell() as there:
        listener = Listener(there, 50)
        bus.said.clear()
        bus.flows.clear()
        for user_id in range(1, 51):
            here.ring([user_id])
            await asyncio.sleep(0)
        bus.flows.set()
        await listener.is_woken()
        assert [users_of(message) for message in bus.said] == [{1}, set(range(2, 51))]


async def test_local_listener_is_woken_at_once_and_once() -> None:
    bus = MemoryBus()
    async with await bus.doorbell() as doorbell:
        listener = Listener(doorbell, 7)
        doorbell.ring([7])
        assert listener.heard == 1
        await until(lambda: users_of(bus.said[-1]) == {7})
        assert listener.heard == 1


async def test_many_users_are_split_into_several_messages() -> None:
    bus = MemoryBus()
    users = range(2**63 - 3_000, 2**63)
    async with await bus.doorbell() as doorbell:
        bus.said.clear()
        doorbell.ring(users)
        await until(lambda: len(bus.said) == -(-3_000 * 20 // (MESSAGE_BYTES - 18)))
        assert max(map(len, bus.said)) <= MESSAGE_BYTES
        assert set[int]().union(*map(users_of, bus.said)) == set(users)


async def test_message_has_version_node_and_user_ids() -> None:
    bus = MemoryBus()
    async with await bus.doorbell() as doorbell:
        assert re.fullmatch(rb"1 [0-9a-f]{16}", bus.said[-1])
        doorbell.ring([42])
        await until(lambda: re.fullmatch(rb"1 [0-9a-f]{16} 42", bus.said[-1]))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"7",
        b"1",
        b"1 7",
        b"2 0123456789abcdef 7",
        b"10123456789abcdef 7",
        b"1 0123456789ABCDEF 7",
        b"1 0123456789abcdef 7 ",
        b"1 0123456789abcdef 7\n",
        b"1 0123456789abcdef  7",
        b"1 0123456789abcdef 7 x",
        b"1 0123456789abcdef 7.0",
        b"1 0123456789abcdef \xd9\xa7",
        b"1 0123456789abcdef" + b" 7" * MESSAGE_BYTES,
        b"1 0123456789abcdef " + b"7" * 5_000,
        b"\xff\xfe",
    ],
)
async def test_invalid_message_is_ignored(message: bytes) -> None:
    bus = MemoryBus()
    async with await bus.doorbell() as doorbell:
        listener = Listener(doorbell, 7)
        bus.say(message)
        assert listener.heard == 0
        bus.say(b"1 0123456789abcdef 6 7")
        assert listener.heard == 1
        assert bus.attempts == 1


async def test_pending_users_are_bounded_during_an_outage() -> None:
    bus = MemoryBus()
    async with await bus.doorbell() as doorbell:
        bus.flows.clear()
        for first in range(1, 1_000_000, 100):
            doorbell.ring(range(first, first + 100))
        bus.said.clear()
        bus.flows.set()
        await until(lambda: bus.said)
        assert set[int]().union(*map(users_of, bus.said)) == set(range(1, 10_001))


async def test_unsent_rings_are_sent_on_the_next_connection() -> None:
    bus = MemoryBus()
    async with await bus.doorbell() as here:
        bus.flows.clear()
        here.ring([7])
        await asyncio.sleep(0)
        here.ring([8])
        bus.links[-1].fail(OSError("cable"))
        await until(lambda: bus.attempts == 2)
        bus.flows.set()
        await until(lambda: users_of(bus.said[-1]) == {7, 8})


async def test_every_listener_is_woken_on_the_next_connection() -> None:
    bus = MemoryBus()
    async with await bus.doorbell() as doorbell:
        listeners = [Listener(doorbell, user_id) for user_id in range(1_000)]
        for error in (OSError("cable"), ValueError("a bug of the client")):
            bus.links[-1].fail(error)
            for listener in listeners:
                await listener.is_woken()


async def test_client_that_cancels_itself_is_reconnected() -> None:
    bus = MemoryBus()
    async with await bus.doorbell(patience=0.05) as doorbell:
        listener = Listener(doorbell, 7)
        bus.links[-1].cancel()
        await listener.is_woken()


async def test_bus_without_an_echo_is_treated_as_disconnected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = MemoryBus()
    bus.deaf = True
    async with await bus.doorbell(patience=0.05) as doorbell:
        listener = Listener(doorbell, 7)
        await until(lambda: bus.attempts > 3)
        assert listener.heard == 0
        [record] = caplog.records
        assert record.message.startswith("no connection to a bus (ConnectionError: silent for")
        bus.deaf = False
        await listener.is_woken()


async def test_cancelled_start_leaves_no_task() -> None:
    bus = MemoryBus()
    bus.flows.clear()
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await bus.doorbell()
    assert asyncio.all_tasks() == before


async def test_error_while_closing_the_bus_is_suppressed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus, failures = MemoryBus(), list[object]()
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    # asyncio reports tasks whose exception was never retrieved here.
    loop.set_exception_handler(lambda _, context: failures.append(context))
    try:
        doorbell = await bus.doorbell()
        bus.leaving_fails = True
        await doorbell.close()
        del doorbell
        bus.links.clear()
        gc.collect()
    finally:
        loop.set_exception_handler(before)
    assert failures == []
    assert not caplog.records
