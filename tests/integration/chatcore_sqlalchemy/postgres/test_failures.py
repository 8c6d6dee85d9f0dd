"""PostgreSQL restarts, freezes, is busy or ends connections: callers get an error in time, no
acknowledged write is lost, and the store recovers by itself."""

import asyncio
import signal

import asyncpg
import pytest

from chatcore import NewMessage, Overloaded, StoreUnavailable, Unavailable
from chatcore.testing.scene import Scene, ann_and_bob, read_all, send
from chatcore_postgres import servers as postgres_servers
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.postgres import connection as postgres_connection
from chatcore_sqlalchemy.postgres import pool as postgres_pool
from chatcore_sqlalchemy.postgres.database import CONNECTIONS
from tests.integration.chatcore_sqlalchemy.places import POOLED, POSTGRES, Place, place_of
from tests.support.postgres_proxy import Fate, proxy_to
from tests.support.postgres_server import PostgresServer, name_of

SENDERS = 16
SECONDS = 120
"""Much longer than any step takes."""


@pytest.fixture(params=[POSTGRES, POOLED])
def place(request: pytest.FixtureRequest) -> Place:
    """Faults are where a pooler makes a difference, so the short run has both."""
    return place_of(request)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["ordered", "crash"])
async def test_restart_neither_loses_nor_repeats_messages(
    how: signal.Signals,
    place: Place,
    store: SqlAlchemyStore,
    scene: Scene,
    postgres: PostgresServer,
) -> None:
    chat, ann, _ = scene
    acknowledged: dict[str, int] = {}
    outages = 0
    stopping = asyncio.Event()

    async def sender(number: int) -> None:
        nonlocal outages
        turn = 0
        while not stopping.is_set():
            key = f"{number}.{turn}"
            try:
                sent = await send(store, chat, ann, key, key)
            except Unavailable:
                outages += 1
                await asyncio.sleep(0.01)
            else:
                acknowledged[key] = sent.message.seq
                turn += 1

    async def more(count: int) -> None:
        enough = len(acknowledged) + count
        async with asyncio.timeout(SECONDS):
            while len(acknowledged) < enough:  # noqa: ASYNC110 (the senders have no event to wait for)
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as tasks:
        for number in range(SENDERS):
            tasks.create_task(sender(number))
        for _ in range(2):
            await more(50)
            await asyncio.to_thread(postgres.stop, how)
            await asyncio.to_thread(postgres.start)
        await more(50)
        stopping.set()
    # A pooler may let the transactions wait until the server is back.
    assert outages or place.pooler
    found = {message.text: message.seq for message in await read_all(store, chat)}
    assert found == acknowledged
    assert sorted(found.values()) == [*range(1, len(found) + 1)]


async def test_ended_connections_are_replaced_without_an_error(
    place: Place,
    store: SqlAlchemyStore,
    scene: Scene,
    postgres: PostgresServer,
    postgres_url: str,
) -> None:
    chat, ann, bob = scene
    for turn in range(1, 6):
        assert await send(store, chat, ann, f"{turn}")
        await asyncio.gather(*(store.user_by_id(ann.id) for _ in range(20)))
        # A pooler has as many sessions as transactions overlapped.
        least = CONNECTIONS if place.pooler is None else 1
        assert postgres.kill_backends(name_of(postgres_url)) > least
        calls = (send(store, chat, bob, "hello"), store.last_seq(chat.id), store.user_by_id(bob.id))
        await asyncio.gather(*calls)
        assert await store.move_read_marker(chat.id, bob.id, 2 * turn, 0) == 2 * turn


async def test_missing_server_is_reported_at_once(
    place: Place, store: SqlAlchemyStore, scene: Scene, postgres: PostgresServer
) -> None:
    chat, ann, _ = scene
    postgres.stop()
    try:
        for _ in range(3):
            async with asyncio.timeout(SECONDS):
                with pytest.raises(StoreUnavailable):
                    await send(store, chat, ann, "lost")
                with pytest.raises(StoreUnavailable):
                    await store.last_seq(chat.id)
    finally:
        postgres.start()
    async with asyncio.timeout(SECONDS):
        # The pooler, not the store, waits before it tries the server again.
        while place.pooler is not None and await is_unavailable(store):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await send(store, chat, ann, "on")).message.seq == 1


async def is_unavailable(store: SqlAlchemyStore) -> bool:
    try:
        await store.check_writes()
    except StoreUnavailable:
        return True
    return False


async def test_frozen_server_is_abandoned_in_time(
    place: Place, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "ANSWER_SECONDS", 3)
    monkeypatch.setattr(postgres_servers, "CONNECT_SECONDS", 3)
    async with await place.open() as store:
        chat, ann, _ = await ann_and_bob(store)
        with postgres.frozen():
            for _ in range(2):
                async with asyncio.timeout(SECONDS):
                    calls = send(store, chat, ann, "perhaps", "key"), store.last_seq(chat.id)
                    found = await asyncio.gather(*calls, return_exceptions=True)
                assert [type(each) for each in found] == [StoreUnavailable, StoreUnavailable]
        sent = await send(store, chat, ann, "perhaps", "key")
        assert await read_all(store, chat) == [sent.message]


async def test_late_answer_names_the_limit_of_answers(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        proxy_to(postgres_url) as (proxy, url),
        await SqlAlchemyStore.open(url) as store,
    ):
        monkeypatch.setattr(postgres_connection, "ANSWER_SECONDS", 0.75)
        proxy.judge = lambda message: Fate.STALLS if b"last_seq" in message else Fate.PASSES
        with pytest.raises(StoreUnavailable, match=r"no answer within 0\.75 seconds"):
            await store.last_seq(1)


async def test_waiting_too_long_for_a_connection_is_refused(
    store: SqlAlchemyStore, scene: Scene, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_pool, "WAIT_SECONDS", 0.2)
    other = await asyncpg.connect(postgres_url)
    async with other.transaction():
        await other.execute("LOCK TABLE chatcore.users")
        reading = [asyncio.create_task(store.user_by_id(scene.ann.id)) for _ in range(CONNECTIONS)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await store.user_by_id(scene.bob.id)
    assert await asyncio.gather(*reading) == [scene.ann] * CONNECTIONS
    assert await store.user_by_id(scene.bob.id) == scene.bob
    await other.close()


@pytest.mark.parametrize("limit", ["statement_timeout", "lock_timeout"])
async def test_statement_that_takes_too_long_is_cancelled(
    limit: str, place: Place, postgres_url: str
) -> None:
    async with await place.open(f"&{limit}=2000") as store:
        chat, ann, bob = await ann_and_bob(store)
        other = await asyncpg.connect(postgres_url)
        async with other.transaction():
            await other.execute("LOCK TABLE chatcore.chats")
            calls = (
                send(store, chat, ann, "too late"),
                store.last_seq(chat.id),
                store.move_read_marker(chat.id, bob.id, 1, 0),
            )
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(each) for each in found} == {StoreUnavailable}
        await other.close()
        assert (await send(store, chat, ann, "on")).message.seq == 1


async def test_frozen_node_loses_its_locks(place: Place) -> None:
    limit = "&idle_in_transaction_session_timeout=2000"
    async with (
        proxy_to(place.url) as (proxy, url),
        await place._replace(url=url).open(limit) as frozen,
        await place.open() as store,
    ):
        chat, ann, bob = await ann_and_bob(frozen)
        await send(frozen, chat, ann, "first")
        proxy.judge = lambda message: Fate.STALLS if message[:1] == b"B" else Fate.PASSES
        stalled = asyncio.create_task(frozen.append_message(NewMessage(chat.id, ann.id, "late", 0)))
        async with asyncio.timeout(SECONDS):
            assert (await send(store, chat, bob, "second")).message.seq == 2
        proxy.judge = lambda _: Fate.PASSES
        proxy.go_on()
        await asyncio.wait([stalled])
        texts = [message.text for message in await read_all(store, chat)]
        assert texts[:2] == ["first", "second"]
        assert len(texts) == 2 + (stalled.exception() is None)


async def test_failure_shows_no_message_text(
    store: SqlAlchemyStore, scene: Scene, postgres: PostgresServer, postgres_url: str
) -> None:
    postgres.sql("ALTER TABLE messages ADD CHECK (seq < 1) NOT VALID", name_of(postgres_url))
    with pytest.raises(StoreUnavailable) as failed:
        await send(store, scene.chat, scene.ann, "between us")
    causes: list[BaseException] = [failed.value]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    assert "violates check constraint" in f"{causes}"
    assert "between us" not in "".join(f"{cause!r} {cause}" for cause in causes)


async def test_close_finishes_waiting_writes(place: Place) -> None:
    store = await place.open()
    chat, ann, _ = await ann_and_bob(store)
    sending = asyncio.gather(*(send(store, chat, ann, f"{n}") for n in range(200)))
    await asyncio.sleep(0)
    closing = asyncio.gather(store.close(), store.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await send(store, chat, ann, "late")
    assert [sent.message.seq for sent in await sending] == [*range(1, 201)]
    await closing
    with pytest.raises(StoreUnavailable):
        await store.last_seq(chat.id)
