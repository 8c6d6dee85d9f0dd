"""Several services on one database: each store here has its own connections, as each service
has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random

import asyncpg
import pytest

from chatcore import Chat, ChatExists, NewMessage, User
from chatcore.testing.events import simultaneous_steps_are_each_logged_once
from chatcore.testing.scene import add_user, ann_and_bob, read_all
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.chatcore_sqlalchemy.places import Place
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.soak import SOAK, long

TURNS = 1_000 if SOAK else 15
"""Messages of each talker; there are 16 talkers at each node."""

HOLES = (
    "SELECT count(*) FROM (SELECT 1 FROM events GROUP BY user_id HAVING max(n) <> count(*)) AS h"
)


@asynccontextmanager
async def nodes(place: Place, count: int) -> AsyncIterator[list[SqlAlchemyStore]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await place.open()) for _ in range(count)]


async def waiting(connection: asyncpg.Connection, count: int) -> None:
    """Wait until this many sessions wait for locks."""
    seen = 0
    async with asyncio.timeout(120):
        while seen < count:
            # Within a transaction the view keeps its first answer.
            await connection.execute("SELECT pg_stat_clear_snapshot()")
            seen = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            await asyncio.sleep(0.01)


async def test_one_key_sent_to_two_nodes_stores_one_message(
    place: Place, postgres_url: str
) -> None:
    keeper = await asyncpg.connect(f"{postgres_url}&search_path=chatcore")
    async with nodes(place, 2) as stores:
        chat, ann, bob = await ann_and_bob(stores[0])
        for turn in range(5):
            # Both batches have begun before either can continue.
            async with keeper.transaction():
                await keeper.execute("SELECT FROM chats FOR NO KEY UPDATE")
                news = [
                    NewMessage(chat.id, sender.id, f"{turn}", 0, key)
                    for sender, key in (
                        (ann, None),
                        (bob, f"{turn}"),
                        (ann, f"{turn}"),
                        (bob, None),
                    )
                ]
                sending = [
                    asyncio.create_task(store.append_message(new))
                    for store in stores
                    for new in news
                ]
                await waiting(keeper, 2)
            sent = [await task for task in sending]
            assert [it.replayed for it in sent].count(True) == 2
            assert len({it.message.seq for it in sent}) == 6
        found = await read_all(stores[1], chat)
        assert [message.seq for message in found] == [*range(1, 31)]
        assert await keeper.fetchval(HOLES) == 0
    await keeper.close()


@long
async def test_three_nodes_do_not_deadlock(
    place: Place, postgres: PostgresServer, postgres_url: str
) -> None:
    random = Random(1)
    async with nodes(place, 3) as stores:
        users = [await add_user(stores[0], f"user {n}") for n in range(40)]
        chats: list[Chat] = []
        acknowledged: dict[int, list[int]] = {}

        async def open_one(store: SqlAlchemyStore) -> None:
            pair = random.sample(users, 2)
            with suppress(ChatExists):
                chats.append(await store.open_chat(pair[0].id, pair[1].id, 0))

        async def send_one(store: SqlAlchemyStore, chat: Chat, sender: User) -> None:
            sent = await store.append_message(NewMessage(chat.id, sender.id, "hello", 0))
            acknowledged.setdefault(chat.id, []).append(sent.message.seq)

        async def talk(store: SqlAlchemyStore) -> None:
            for _ in range(TURNS):
                chat = random.choice(chats)
                user = random.choice(chat.users)
                match random.randrange(20):
                    case 0:
                        await open_one(store)
                    case 1 | 2:
                        seq = await store.last_seq(chat.id)
                        await store.move_read_marker(chat.id, user.id, seq, 0)
                    case _:
                        await send_one(store, chat, user)

        while len(chats) < 60:
            await open_one(stores[0])
        async with asyncio.TaskGroup() as tasks:
            for store in stores:
                for _ in range(16):
                    tasks.create_task(talk(store))
        for chat in chats:
            assert sorted(acknowledged.get(chat.id, [])) == [
                *range(1, await stores[0].last_seq(chat.id) + 1)
            ]
    name = postgres_url.rpartition("/test_")[2].partition("?")[0]
    assert postgres.sql(HOLES, f"test_{name}") == "0"
    deadlocks = f"SELECT deadlocks FROM pg_stat_database WHERE datname = 'test_{name}'"  # noqa: S608
    assert postgres.sql(deadlocks) == "0"


@pytest.mark.parametrize("turn", range(2))
async def test_writes_of_one_node_are_visible_on_another_at_once(turn: int, place: Place) -> None:
    async with nodes(place, 2) as stores:
        here, there = stores[turn], stores[1 - turn]
        chat, ann, bob = await ann_and_bob(here)
        for number in range(1, 20):
            # Pages and lists are cached; none may be stale.
            assert len(await there.messages_before(chat.id, None, limit=50)) == number - 1
            await here.append_message(NewMessage(chat.id, ann.id, f"{number}", 0))
            [summary] = await there.chats_of(bob.id, before=None, limit=50)
            assert summary.last_seq == number
            assert (await there.end_of_log(bob.id)).n == number + 1


async def test_steps_do_not_deadlock_with_statistics_of_empty_tables(
    place: Place, postgres: PostgresServer, postgres_url: str
) -> None:
    """For tables that it takes to be empty, PostgreSQL would join users with the chats of a batch
    row by row, and so lock a user before all chats."""
    for _ in range(8):
        postgres.empty(name_of(postgres_url))
        postgres.sql("ANALYZE", name_of(postgres_url))
        async with await place.open() as store:
            await simultaneous_steps_are_each_logged_once(store)
