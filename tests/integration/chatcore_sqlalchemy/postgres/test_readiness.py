"""Whether a write would succeed: `check_writes` agrees with what sends get."""

import asyncio

import asyncpg
import pytest

from chatcore import StoreUnavailable
from chatcore.testing.scene import Scene, ann_and_bob, read_all, read_log, send
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.postgres import connection as postgres_connection
from tests.support.postgres_server import PostgresServer, name_of

SECONDS = 60

WAITING = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)

REFUSE = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "RAISE 'no room'; END $$; "
    "CREATE TRIGGER refuse BEFORE INSERT ON {table} EXECUTE FUNCTION refuse()"
)


@pytest.mark.parametrize("table", ["messages", "events"])
async def test_store_that_refuses_each_message_takes_no_writes(
    table: str, store: SqlAlchemyStore, scene: Scene, postgres: PostgresServer, postgres_url: str
) -> None:
    chat, ann, _ = scene
    name = name_of(postgres_url)
    await store.check_writes()
    postgres.sql(REFUSE.format(table=table), name)
    with pytest.raises(StoreUnavailable):
        await send(store, chat, ann, "lost")
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="no room"):
            await store.check_writes()
    postgres.sql(f"DROP TRIGGER refuse ON {table}", name)
    before = await read_log(store, ann)
    await store.check_writes()
    # The check has written nothing that stays.
    assert await read_all(store, chat) == []
    assert await read_log(store, ann) == before
    assert (await send(store, chat, ann, "one")).message.seq == 1


@pytest.mark.parametrize("failing", [False, True])
async def test_check_does_not_wait_behind_a_batch(
    failing: bool,
    postgres: PostgresServer,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres_connection, "ANSWER_SECONDS", SECONDS)
    name = name_of(postgres_url)
    patient = f"{postgres_url}&lock_timeout={SECONDS}s&statement_timeout={SECONDS}s"
    other = await asyncpg.connect(postgres_url)
    async with await SqlAlchemyStore.open(patient) as store:
        chat, ann, _ = await ann_and_bob(store)
        if failing:
            postgres.sql(REFUSE.format(table="messages"), name)
            with pytest.raises(StoreUnavailable):
                await send(store, chat, ann, "lost")
            postgres.sql("DROP TRIGGER refuse ON messages", name)
        async with other.transaction():
            await other.execute("LOCK TABLE chatcore.chats")
            sending = asyncio.create_task(send(store, chat, ann, "one"))
            async with asyncio.timeout(SECONDS):
                # Elsewhere: a transaction sees this view as at its first look.
                while not int(await asyncio.to_thread(postgres.sql, WAITING, name)):
                    pass
                if failing:
                    with pytest.raises(StoreUnavailable, match="last messages"):
                        await store.check_writes()
                else:
                    await store.check_writes()
            assert not sending.done()
        assert (await sending).message.seq == 1
        await store.check_writes()
    await other.close()
