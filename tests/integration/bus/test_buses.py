"""Doorbells of several nodes on one real bus, which is killed and frozen."""

import asyncio
import logging
import secrets
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from chatcore import Following, MessageSent, Messenger, UserName
from chatcore.bus import BusDoorbell
from chatcore.testing import DOORBELL_CHECKS, DoorbellCheck
from chatcore.testing.scene import ann_and_bob
from chatcore_memory import MemoryStore
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.bus_servers import BUSES, Bus
from tests.support.host import async_url
from tests.support.serving import until
from tests.support.soak import SOAK

FOR_EVER = 3600.0
SECONDS = 60

# Seconds of silence after which a connection is given up, unless a test says otherwise.
SOON = 0.4

# Closing is promised within seconds; a busy machine gets ten times as long.
QUICKLY = 5 if SOAK else 50


@pytest.fixture(scope="module", params=BUSES)
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    with BUSES[request.param]() as bus:
        yield bus


@asynccontextmanager
async def nodes(bus: Bus, patience: float = 5, count: int = 2) -> AsyncIterator[list[BusDoorbell]]:
    """Doorbells that hear each other and no other node."""
    channel = f"test_{secrets.token_hex(8)}"
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(await bus.doorbell(channel, patience))
            for _ in range(count)
        ]


@asynccontextmanager
async def listening(doorbell: BusDoorbell, user_id: int) -> AsyncIterator[asyncio.Event]:
    """An event that is set when the user is rung for. Raises TimeoutError after SECONDS."""
    woken = asyncio.Event()
    leave = doorbell.listen(user_id, woken.set)
    try:
        async with asyncio.timeout(SECONDS):
            yield woken
    finally:
        leave()


async def connected(here: BusDoorbell, there: BusDoorbell) -> None:
    """Return when both hear each other and the wake-ups of the new connection are over."""
    for one, other in ((here, there), (there, here)):
        async with listening(one, 2**62) as woken:
            while not woken.is_set():
                other.ring([2**62])
                await asyncio.sleep(0.01)


async def next_text(following: Following) -> str:
    event = await anext(following)
    assert isinstance(event, MessageSent)
    return event.message.text


def outages_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The losses and returns of the connection, in the order of the log."""
    lines = [record.message for record in caplog.records if record.name == "chatcore.bus"]
    return ["lost" if "no connection" in line else "back" for line in lines]


@pytest.mark.parametrize("check", DOORBELL_CHECKS, ids=lambda check: check.__name__)
async def test_two_nodes_pass_the_doorbell_checks(bus: Bus, check: DoorbellCheck) -> None:
    async with nodes(bus) as (here, there):
        await check(here, there)


@pytest.mark.parametrize("check", DOORBELL_CHECKS, ids=lambda check: check.__name__)
async def test_one_node_passes_the_doorbell_checks(bus: Bus, check: DoorbellCheck) -> None:
    async with nodes(bus, count=1) as (doorbell,):
        await check(doorbell, doorbell)


async def test_one_ring_wakes_listeners_on_every_node(bus: Bus) -> None:
    async with nodes(bus, count=3) as (a, b, c):
        await connected(a, b)
        await connected(a, c)
        async with (
            listening(a, 7) as on_a,
            listening(b, 7) as on_b,
            listening(c, 7) as on_c,
        ):
            a.ring([7])
            assert on_a.is_set()
            await on_b.wait()
            await on_c.wait()


async def test_one_ring_wakes_thousands_of_users(bus: Bus) -> None:
    # More users than fit one message.
    users = range(2**63 - 5_000, 2**63)
    async with nodes(bus) as (here, there):
        await connected(here, there)
        unheard = set(users)
        for user_id in users:
            there.listen(user_id, lambda user_id=user_id: unheard.discard(user_id))  # type: ignore[misc]
        here.ring(users)
        await until(lambda: not unheard)


async def test_channels_do_not_hear_each_other(bus: Bus) -> None:
    async with nodes(bus) as (here, there), nodes(bus) as (elsewhere, far):
        await connected(here, there)
        await connected(elsewhere, far)
        async with listening(far, 7) as far_woken, listening(there, 7) as woken:
            here.ring([7])
            await woken.wait()
            elsewhere.ring([8])
            async with listening(far, 8) as heard:
                elsewhere.ring([8])
                await heard.wait()
            assert not far_woken.is_set()


async def test_restarted_bus_wakes_every_listener(bus: Bus) -> None:
    async with nodes(bus) as (here, there):
        await connected(here, there)
        async with listening(there, 7) as by_return, listening(there, 8) as by_ring:
            bus.server.kill()
            here.ring([8])
            await asyncio.sleep(0.1)
            assert not by_return.is_set()
            bus.server.start()
            # Nothing rang for 7: a new connection wakes every listener, since a ring may have been
            # lost.
            await by_return.wait()
            await by_ring.wait()
        await connected(here, there)
        async with listening(there, 9) as woken:
            here.ring([9])
            await woken.wait()


async def test_doorbell_connects_once_the_bus_starts(bus: Bus) -> None:
    bus.server.kill()
    try:
        async with asyncio.timeout(SECONDS), nodes(bus) as (here, there):
            async with listening(here, 7) as woken:
                here.ring([7])
                assert woken.is_set()
            bus.server.start()
            await connected(here, there)
    finally:
        bus.server.kill()
        bus.server.start()


async def test_outage_is_logged_once(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with nodes(bus, SOON, count=1) as (doorbell,):
        async with listening(doorbell, 7) as woken:
            bus.server.kill()
            await until(lambda: outages_of(caplog)[-1:] == ["lost"])
            # Long enough for several attempts to connect.
            await asyncio.sleep(SOON)
            bus.server.start()
            await until(lambda: outages_of(caplog)[-1] == "back")
            await woken.wait()
        async with listening(doorbell, 7) as woken:
            with bus.server.frozen():
                await until(lambda: outages_of(caplog)[-1] == "lost")
                await asyncio.sleep(2 * SOON)
                assert outages_of(caplog)[-1] == "lost"
            await until(lambda: outages_of(caplog)[-1] == "back")
            await woken.wait()
    # However busy the machine: losses and returns alternate.
    lines = outages_of(caplog)
    assert lines == (["lost", "back"] * len(lines))[: len(lines)]


FREEZES = [2, 17] if SOAK else [2]


@pytest.mark.parametrize("seconds", FREEZES)
async def test_ring_arrives_after_the_bus_was_frozen(bus: Bus, seconds: float) -> None:
    async with nodes(bus) as (here, there):
        await connected(here, there)
        async with listening(there, 7) as woken:
            with bus.server.frozen():
                here.ring([7])
                await asyncio.sleep(seconds)
            await woken.wait()


async def test_doorbell_closes_quickly_in_any_state_of_the_bus(bus: Bus) -> None:
    before = asyncio.all_tasks()
    async with nodes(bus, count=4) as doorbells, asyncio.timeout(SECONDS):
        idle, ringing, shaken, trying = doorbells
        with bus.server.frozen():
            for number in range(1_000):
                ringing.ring([number])
                await asyncio.sleep(0)
            for doorbell in (idle, ringing):
                async with asyncio.timeout(QUICKLY):
                    await doorbell.close()
        bus.server.kill()
        try:
            async with asyncio.timeout(QUICKLY):
                await shaken.close()
            await asyncio.sleep(0.5)
            async with asyncio.timeout(QUICKLY):
                await trying.close()
        finally:
            bus.server.start()
        for doorbell in doorbells:
            async with listening(doorbell, 7) as woken:
                doorbell.ring([7])
                assert woken.is_set()
        await until(lambda: asyncio.all_tasks() <= before)


async def test_former_listeners_leave_nothing_behind(bus: Bus) -> None:
    class Listener:
        def wake(self) -> None:
            pass

    async with nodes(bus) as (here, there):
        await connected(here, there)
        tasks = asyncio.all_tasks()
        listeners = weakref.WeakSet[Listener]()
        for user_id in range(1, 10_001):
            listener = Listener()
            listeners.add(listener)
            there.listen(user_id, listener.wake)()
        del listener
        assert not listeners
        assert asyncio.all_tasks() == tasks
        await connected(here, there)


async def test_message_sent_on_one_node_is_followed_on_another(bus: Bus) -> None:
    async with nodes(bus) as (here, there):
        await connected(here, there)
        store = MemoryStore()
        ann = await store.add_user(UserName("ann"), "", 0)
        bob = await store.add_user(UserName("bob"), "", 0)
        sends = Messenger(store, doorbell=here)
        # Without the bus, the next poll would be in an hour.
        follows = Messenger(store, doorbell=there, poll_seconds=FOR_EVER)
        chat = await sends.open_chat(ann, bob)
        following = follows.follow(bob)
        await following.start()
        async with asyncio.timeout(SECONDS):
            for number in range(20):
                waiting = asyncio.create_task(next_text(following))
                await asyncio.sleep(0)
                await sends.send(ann, chat, f"{number}")
                assert await waiting == f"{number}"


async def test_polling_finds_a_message_without_the_bus(bus: Bus) -> None:
    store = MemoryStore()
    ann = await store.add_user(UserName("ann"), "", 0)
    bob = await store.add_user(UserName("bob"), "", 0)
    async with nodes(bus) as (here, there):
        bus.server.kill()
        try:
            sends = Messenger(store, doorbell=here)
            follows = Messenger(store, doorbell=there, poll_seconds=0.2)
            chat = await sends.open_chat(ann, bob)
            following = follows.follow(bob)
            await following.start()
            async with asyncio.timeout(SECONDS):
                waiting = asyncio.create_task(next_text(following))
                await asyncio.sleep(0)
                await sends.send(ann, chat, "hello")
                assert await waiting == "hello"
        finally:
            bus.server.start()


async def test_send_within_a_transaction_rings_on_other_nodes_after_the_commit(
    bus: Bus, postgres_url: str
) -> None:
    engine = create_async_engine(async_url(postgres_url))
    async with nodes(bus) as (here, there), await SqlAlchemyStore.open(postgres_url) as store:
        await connected(here, there)
        chat, ann, bob = await ann_and_bob(store)
        sending = Messenger(store, doorbell=here, poll_seconds=FOR_EVER)
        hearing = Messenger(store, doorbell=there, poll_seconds=FOR_EVER)
        following = hearing.follow(bob)
        await following.start()
        heard = asyncio.create_task(next_text(following))
        for text, commits in (("lost", False), ("kept", True)):
            async with engine.connect() as connection:
                await sending.within(connection).send(ann, chat, text)
                await (connection.commit() if commits else connection.rollback())
        async with asyncio.timeout(SECONDS):
            assert await heard == "kept"
    await engine.dispose()
