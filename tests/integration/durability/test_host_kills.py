"""A host that sends within its own transactions is killed: each order has its message, once."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest

from chatcore import MessageSent, Messenger
from chatcore.testing.scene import Scene, ann_and_bob, read_all, send
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.postgres import locked_chats
from tests.support.figures import Figures
from tests.support.host import PostgresHost
from tests.support.repository import ROOT
from tests.support.soak import long

SECONDS = 120


@contextlib.contextmanager
def host(url: str, how: str) -> Iterator[subprocess.Popen[str]]:
    program = [sys.executable, "-m", "tests.support.killed_host", url, how]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[SqlAlchemyStore]:
    shop = PostgresHost(postgres_url)
    async with shop.transaction() as execute:
        await execute("CREATE TABLE orders (id SERIAL PRIMARY KEY)")
    async with await SqlAlchemyStore.open(postgres_url) as store:
        yield store


@pytest.fixture
async def scene(store: SqlAlchemyStore) -> Scene:
    return await ann_and_bob(store)


async def expect_a_message_for_each_order(
    url: str, store: SqlAlchemyStore, scene: Scene
) -> list[str]:
    orders = await PostgresHost(url).rows("SELECT id FROM orders ORDER BY id")
    found = await read_all(store, scene.chat)
    assert [message.text for message in found] == [str(order) for (order,) in orders]
    assert [message.seq for message in found] == [*range(1, len(found) + 1)]
    return [message.text for message in found]


async def test_kill_between_send_and_commit_leaves_nothing(
    postgres_url: str,
    store: SqlAlchemyStore,
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locked_chats, "LOCK_SECONDS", SECONDS)
    with host(postgres_url, "sent") as process:
        assert process.stdout
        assert await asyncio.to_thread(process.stdout.readline) == "sent\n"
        assert await read_all(store, scene.chat) == []
        process.kill()
        await asyncio.to_thread(process.wait)
    assert await expect_a_message_for_each_order(postgres_url, store, scene) == []
    # The server notices that the host is gone, and frees the chat.
    assert (await send(store, scene.chat, scene.ann, "free")).message.seq == 1


async def test_kill_after_the_commit_delays_the_message_until_a_poll(
    postgres_url: str, store: SqlAlchemyStore, scene: Scene
) -> None:
    messenger = Messenger(store, poll_seconds=0.05)
    start = (await messenger.sync(scene.bob)).cursor
    with host(postgres_url, "rings") as process:
        assert await asyncio.to_thread(process.wait) == -signal.SIGKILL
    assert await expect_a_message_for_each_order(postgres_url, store, scene) == ["1"]
    async with asyncio.timeout(SECONDS):
        event = await anext(messenger.follow(scene.bob, after=start))
    assert isinstance(event, MessageSent)
    assert event.message.text == "1"


@long
async def test_kills_lose_and_double_nothing(
    postgres_url: str, store: SqlAlchemyStore, scene: Scene, soak: bool, figures: Figures
) -> None:
    kills, random = 60 if soak else 2, Random(1)
    acknowledged: list[str] = []
    messenger = Messenger(store, poll_seconds=0.05)
    following = messenger.follow(scene.bob, after=(await messenger.sync(scene.bob)).cursor)
    for _ in range(kills):
        with host(postgres_url, "trades") as process:
            assert process.stdout
            acknowledged += [
                (await asyncio.to_thread(process.stdout.readline)).strip()
                for _ in range(random.randrange(1, 40))
            ]
            await asyncio.sleep(random.random() / 100)
            process.kill()
            acknowledged += (await asyncio.to_thread(process.stdout.read)).split()
    # The last transaction ends with the last connection.
    await send(store, scene.chat, scene.ann, "0")
    async with PostgresHost(postgres_url).transaction() as execute:
        await execute("INSERT INTO orders (id) SELECT 0")
    found = [message.text for message in await read_all(store, scene.chat)]
    orders = await PostgresHost(postgres_url).rows("SELECT id FROM orders")
    assert sorted(map(int, found)) == sorted(order for (order,) in orders)
    assert set(acknowledged) <= set(found)
    async with asyncio.timeout(SECONDS):
        heard = [await anext(following) for _ in found]
    assert [event.message.text for event in heard if isinstance(event, MessageSent)] == found
    figures.note(
        f"{kills} kills of a host that sends within its transactions: {len(acknowledged):,} "
        f"committed orders, {len(found) - 1:,} of them with their message"
    )
    figures.faults += kills
    figures.acknowledged += len(acknowledged)
