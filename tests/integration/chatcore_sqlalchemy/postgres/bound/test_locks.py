"""What a host's transaction holds until its end, whom that delays, and for how long."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from chatcore import Chat, Message, NewMessage, Outgoing, StoreUnavailable, User
from chatcore.model import MAX_INT64
from chatcore.testing.scene import add_user, read_all
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.postgres import host_transaction, locked_chats
from chatcore_sqlalchemy.postgres.connection import ANSWER_SECONDS
from chatcore_sqlalchemy.postgres.database import CONNECTIONS
from tests.integration.chatcore_sqlalchemy.places import Place
from tests.integration.chatcore_sqlalchemy.postgres.bound.conftest import Shop
from tests.support.figures import Figures
from tests.support.host import async_url
from tests.support.postgres_server import PostgresServer
from tests.support.soak import SOAK, long

HELD_SECONDS = 30 if SOAK else 0
ROUNDS = 20
"""How often others have sent before the short form lets go."""

WAITING = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits that a busy machine does not reach."""
    for module, name in (
        (locked_chats, "LOCK_SECONDS"),
        (host_transaction, "LOCK_SECONDS"),
        (host_transaction, "STATEMENT_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 60)


async def pairs(store: SqlAlchemyStore, names: str) -> list[Chat]:
    """A chat of each two users, named by letters."""
    users = [await add_user(store, name) for name in names]
    return [
        await store.open_chat(a.id, b.id, 0) for a, b in zip(users[::2], users[1::2], strict=True)
    ]


def send(store: SqlAlchemyStore, chat: Chat, text: str = "hello") -> "asyncio.Task[Message]":
    async def sending() -> Message:
        new = NewMessage(chat.id, chat.users[0].id, text, 0)
        return (await store.append_message(new)).message

    return asyncio.create_task(sending())


async def somebody_waits(url: str) -> None:
    """Return when a session of the database waits for a lock."""
    watch = await asyncpg.connect(url)
    async with asyncio.timeout(60):
        while not await watch.fetchval(WAITING):  # noqa: ASYNC110 (the server tells nobody)
            await asyncio.sleep(0.01)
    await watch.close()


@long
async def test_held_chat_delays_no_send_of_others(
    shop: Shop, store: SqlAlchemyStore, figures: Figures
) -> None:
    held, ann, _ = shop.scene
    others = await pairs(store, "cdefghij")
    of_ann = await store.open_chat(ann.id, (await add_user(store, "eve")).id, 0)
    waiting, rounds, slowest = [], 0, 0.0
    async with shop.engine.begin() as connection:
        await shop.messenger.within(connection).send(ann, held, "held")
        started = time.monotonic()
        while rounds < ROUNDS or time.monotonic() - started < HELD_SECONDS:
            # Each batch has messages for the held chat and for another one of its user, too.
            if rounds % 100 == 0:
                waiting += [send(store, held), send(store, of_ann)]
            before = time.monotonic()
            await asyncio.gather(*(send(store, chat) for chat in others))
            slowest = max(slowest, time.monotonic() - before)
            rounds += 1
        assert not any(task.done() for task in waiting)
    sent = await asyncio.gather(*waiting)
    assert [it.seq for it in sent[::2]] == [*range(2, len(sent) // 2 + 2)]
    assert [it.seq for it in sent[1::2]] == [*range(1, len(sent) // 2 + 1)]
    for chat in others:
        assert [it.seq for it in await read_all(store, chat)] == [*range(1, rounds + 1)]
    figures.note(
        f"a chat held for {HELD_SECONDS} s: {rounds * len(others):,} messages to other chats, the "
        f"slowest {slowest * 1000:.0f} ms"
    )


async def test_send_to_a_held_chat_is_refused_in_bounded_time(
    shop: Shop, store: SqlAlchemyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, ann, bob = shop.scene
    monkeypatch.setattr(locked_chats, "LOCK_SECONDS", 0.2)
    async with shop.engine.begin() as connection:
        await shop.messenger.within(connection).send(ann, held, "held")
        with pytest.raises(StoreUnavailable, match="locked the chat"):
            await shop.messenger.send(bob, held, "too late")
    assert (await shop.messenger.send(bob, held, "in time")).seq == 2


async def test_close_is_bounded_while_the_server_answers_nothing(
    shop: Shop, store: SqlAlchemyStore, postgres: PostgresServer, postgres_url: str
) -> None:
    held, ann, _ = shop.scene
    [other] = await pairs(store, "cd")
    async with shop.engine.connect() as connection:
        await shop.messenger.within(connection).send(ann, held, "held")
        waiting = send(store, held)
        await somebody_waits(postgres_url)
        # After a later batch, nothing but the held chat is waited for.
        await send(store, other)
        with postgres.frozen():
            async with asyncio.timeout(ANSWER_SECONDS):
                await store.close()
            with pytest.raises(StoreUnavailable, match="closed"):
                await waiting


async def test_writes_that_wait_for_a_held_user_delay_no_write_of_others(
    shop: Shop, place: Place, postgres_url: str
) -> None:
    held, ann, bob = shop.scene
    async with await place.open("&lock_timeout=60s&statement_timeout=60s") as store:
        others = await pairs(store, "cd")
        users = [await add_user(store, name) for name in "efghij"]
        await asyncio.gather(*(send(store, chat) for chat in others))
        async with shop.engine.begin() as connection:
            await shop.messenger.within(connection).send(ann, held, "held")
            waiting = [
                asyncio.create_task(store.move_read_marker(held.id, user.id, 1, 0))
                for user in (ann, bob) * CONNECTIONS
            ]
            await somebody_waits(postgres_url)
            for user in users:
                await store.open_chat(user.id, others[0].users[0].id, 0)
            assert await store.move_read_marker(others[0].id, others[0].users[0].id, 1, 0) == 1
            assert not any(task.done() for task in waiting)
        assert await asyncio.gather(*waiting) == [1] * len(waiting)


async def test_messages_wait_in_their_order_and_reads_do_not(shop: Shop, postgres_url: str) -> None:
    held, ann, bob = shop.scene
    patient = f"{postgres_url}&lock_timeout=60s&statement_timeout=60s"
    async with await SqlAlchemyStore.open(patient) as store:
        async with shop.engine.begin() as connection:
            await shop.messenger.within(connection).send(ann, held, "held")
            tasks = [send(store, held, "1")]
            await somebody_waits(postgres_url)
            cancelled = send(store, held, "cancelled")
            tasks += [send(store, held, text) for text in ("2", "3")]
            await asyncio.sleep(0)
            cancelled.cancel()
            # More writes that wait for the pair than there are connections.
            marking = [
                asyncio.create_task(store.move_read_marker(held.id, user.id, 1, 0))
                for user in (ann, bob) * CONNECTIONS
            ]
            await asyncio.sleep(0)
            assert await read_all(store, held) == []
            assert await store.user_by_id(ann.id) == ann
        await asyncio.gather(*tasks)
        assert await asyncio.gather(*marking) == [1] * len(marking)
        texts = [it.text for it in await read_all(store, held)]
        assert [text for text in texts if text != "cancelled"] == ["held", "1", "2", "3"]


async def test_key_of_a_transaction_under_way_is_waited_for(
    shop: Shop, store: SqlAlchemyStore, postgres_url: str
) -> None:
    chat, ann, _ = shop.scene
    for turn, commits in enumerate((True, False)):
        key = f"key-{turn}"
        async with shop.engine.connect() as first, shop.engine.connect() as second:
            one = await shop.messenger.within(first).send_once(ann, chat, "hello", key)
            retry = asyncio.create_task(
                shop.messenger.within(second).send_once(ann, chat, "hello", key)
            )
            outside = asyncio.create_task(shop.messenger.send_once(ann, chat, "hello", key))
            await somebody_waits(postgres_url)
            await (first.commit() if commits else first.rollback())
            again = await retry
            await second.commit()
            both = [again, await outside]
            assert [it.replayed for it in both].count(False) == (not commits)
            assert {it.message.seq for it in both} == {one.message.seq}


async def test_waiting_host_gets_an_error_and_keeps_its_transaction(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, ann, bob = shop.scene
    monkeypatch.setattr(host_transaction, "LOCK_SECONDS", 0.2)
    async with shop.engine.begin() as holder, shop.engine.begin() as connection:
        await shop.messenger.within(holder).send(ann, chat, "held")
        within = shop.messenger.within(connection)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="locked"):
                await within.send(bob, chat, "hello")
        assert (await holder.exec_driver_sql("SELECT 1")).all() == [(1,)]
        await holder.commit()
        assert (await within.send(bob, chat, "hello")).seq == 2


async def test_limit_that_the_host_has_set_holds(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, ann, bob = shop.scene
    monkeypatch.setattr(host_transaction, "LOCK_SECONDS", 3600)
    monkeypatch.setattr(host_transaction, "STATEMENT_SECONDS", 3600)
    async with shop.engine.begin() as holder, shop.engine.begin() as connection:
        await shop.messenger.within(holder).send(ann, chat, "held")
        await connection.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
        with pytest.raises(StoreUnavailable, match="locked"):
            async with asyncio.timeout(60):
                await shop.messenger.within(connection).send(bob, chat, "hello")


async def test_late_answer_is_reported_as_of_the_hosts_own_limit(
    shop: Shop, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, ann, bob = shop.scene
    monkeypatch.setattr(host_transaction, "LOCK_SECONDS", 3600)
    monkeypatch.setattr(host_transaction, "STATEMENT_SECONDS", 3600)
    limited = create_async_engine(async_url(postgres_url), connect_args={"command_timeout": 1})
    async with shop.engine.begin() as holder, limited.connect() as connection:
        await shop.messenger.within(holder).send(ann, chat, "held")
        await connection.begin()
        with pytest.raises(StoreUnavailable, match="the time limit of your connection"):
            await shop.messenger.within(connection).send(bob, chat, "hello")
    await limited.dispose()


async def test_timeout_of_the_host_leaves_its_transaction_usable(
    shop: Shop, postgres_url: str
) -> None:
    chat, ann, bob = shop.scene
    async with shop.engine.begin() as holder, shop.engine.begin() as connection:
        await shop.messenger.within(holder).send(ann, chat, "held")
        within = shop.messenger.within(connection)
        sending = asyncio.create_task(within.send(bob, chat, "cancelled"))
        await somebody_waits(postgres_url)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await holder.commit()
        assert (await within.send(bob, chat, "hello")).seq == 2


@pytest.fixture
async def chats(store: SqlAlchemyStore) -> Sequence[Chat]:
    """Two chats of four users, in ascending order."""
    return await pairs(store, "cdef")


async def test_call_out_of_order_is_refused(
    shop: Shop, store: SqlAlchemyStore, chats: Sequence[Chat]
) -> None:
    first, second = chats
    low = await add_user(store, "low")
    out_of_order = pytest.raises(RuntimeError, match="send_all")
    async with shop.engine.begin() as connection:
        within = shop.messenger.within(connection)
        savepoint = await connection.begin_nested()
        await within.send(second.users[0], second, "one")
        for chat in (first, shop.scene.chat):
            with out_of_order:
                await within.send(chat.users[0], chat, "another")
        # What is held may be written to again, and higher users may follow.
        await within.send(second.users[1], second, "two")
        opened, _ = await within.ensure_chat(second.users[0], low)
        await within.send(low, opened, "three")
        with out_of_order:
            await within.ensure_chat(first.users[0], low)
        # A chat that exists is only read.
        assert (await within.ensure_chat(*first.users)).chat == first
        # A rollback to a savepoint releases what was locked after it.
        await savepoint.rollback()
        await within.send(first.users[0], first, "four")
        # The transaction is usable after all the refusals.
        await within.send(first.users[1], first, "five")
    assert await read_all(store, second) == []
    assert [it.text for it in await read_all(store, first)] == ["four", "five"]


async def test_one_call_sends_to_several_chats_in_any_order(
    shop: Shop, chats: Sequence[Chat]
) -> None:
    first, second = chats

    def of(chat: Chat, user: User, text: str) -> Outgoing:
        return Outgoing(user, chat, text, text)

    async with shop.engine.begin() as connection:
        sent = await shop.messenger.within(connection).send_all(
            [
                of(second, second.users[0], "one"),
                of(first, first.users[1], "two"),
                of(second, second.users[1], "three"),
                of(first, first.users[1], "two"),
            ]
        )
    assert [(it.message.chat_id, it.message.seq, it.message.text, it.replayed) for it in sent] == [
        (second.id, 1, "one", False),
        (first.id, 1, "two", False),
        (second.id, 2, "three", False),
        (first.id, 1, "two", True),
    ]


@long
async def test_hosts_and_services_do_not_deadlock(
    shop: Shop, store: SqlAlchemyStore, chats: Sequence[Chat]
) -> None:
    turns = 200 if SOAK else 10
    every = [*chats, shop.scene.chat]

    async def host(number: int) -> None:
        for turn in range(turns):
            ordered = every if (number + turn) % 2 else every[::-1]
            async with shop.engine.begin() as connection:
                messages = [Outgoing(chat.users[turn % 2], chat, "host") for chat in ordered]
                await shop.messenger.within(connection).send_all(messages)

    async def service(number: int) -> None:
        for turn in range(turns):
            await send(store, every[(number + turn) % len(every)])

    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(host(number))
            tasks.create_task(service(number))
    found = [await read_all(store, chat) for chat in every]
    assert [[it.seq for it in each] for each in found] == [
        [*range(1, len(each) + 1)] for each in found
    ]
    assert sum(map(len, found)) == 4 * turns * len(every) + 4 * turns


@pytest.mark.parametrize("interrupted", ["RELEASE", "ROLLBACK TO"])
async def test_interrupted_end_of_a_call_is_never_taken_for_a_commit(
    shop: Shop, store: SqlAlchemyStore, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    chat, ann, _ = shop.scene
    execute = asyncpg.Connection.execute

    async def execute_and_cancel(connection: Any, sql: str, *values: Any, **options: Any) -> Any:
        if not sql.startswith(interrupted):
            return await execute(connection, sql, *values, **options)
        # A cancellation can arrive together with the answer, or before the question.
        if interrupted == "RELEASE":
            await execute(connection, sql, *values, **options)
        raise asyncio.CancelledError

    connection = await shop.engine.connect()
    await connection.exec_driver_sql("INSERT INTO orders (id) VALUES (7)")
    unknown = [Outgoing(ann, chat._replace(id=MAX_INT64), "to no chat")]
    messages = [Outgoing(ann, chat, "hello"), *(unknown if interrupted != "RELEASE" else [])]
    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "execute", execute_and_cancel)
        with pytest.raises(asyncio.CancelledError):
            await shop.messenger.within(connection).send_all(messages)
    with pytest.raises(DBAPIError):
        await connection.commit()
    await connection.close()
    assert await read_all(store, chat) == []
