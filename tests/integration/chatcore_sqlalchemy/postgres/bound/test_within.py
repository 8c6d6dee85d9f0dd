"""Sends within a host's transaction: they become visible, and ring, with its commit alone."""

import asyncio
import contextlib
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.util import await_only

from chatcore import (
    ChatExists,
    ChatNotFound,
    KeyReused,
    MessageSent,
    Messenger,
    Outgoing,
    PolicyRefused,
    Refuse,
    SelfChat,
    User,
    UserNotFound,
)
from chatcore.policy import Actor, Allow, Draft, Rewrite
from chatcore.ports import HostTransactions
from chatcore.testing.scene import add_user, ann_and_bob
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.chatcore_sqlalchemy.postgres.bound.conftest import Shop
from tests.support.host import async_url
from tests.support.postgres_server import PostgresServer, name_of

ORDER = text("INSERT INTO orders (id) VALUES (:id)")


async def texts(shop: Shop) -> list[str]:
    chat, ann, _ = shop.scene
    return [message.text for message in (await shop.messenger.page(ann, chat)).messages]


async def orders(shop: Shop) -> list[int]:
    async with shop.engine.connect() as connection:
        return [*await connection.scalars(text("SELECT id FROM orders ORDER BY id"))]


async def rung_by(shop: Shop, count: int) -> None:
    """Wait until the peer was rung for so often; a message sent outside shows that no other ring is
    to come."""
    chat, ann, _ = shop.scene
    await asyncio.sleep(0)
    while shop.rings.count < count:
        await shop.rings.wait()
    await shop.messenger.send(ann, chat, "outside")
    assert shop.rings.count == count + 1


async def test_send_is_visible_and_rings_with_the_commit(shop: Shop) -> None:
    chat, ann, bob = shop.scene
    start = (await shop.messenger.sync(bob)).cursor
    async with shop.engine.begin() as connection:
        await connection.execute(ORDER, {"id": 1})
        sent = await shop.messenger.within(connection).send(ann, chat, "I ordered")
        assert (sent.seq, sent.text, sent.sender_id) == (1, "I ordered", ann.id)
        assert (await texts(shop), shop.rings.count) == ([], 0)
    await shop.rings.wait()
    assert (await texts(shop), await orders(shop)) == (["I ordered"], [1])
    event = await anext(shop.messenger.follow(bob, after=start))
    assert isinstance(event, MessageSent)
    assert event.message == sent
    await rung_by(shop, 1)


async def test_send_vanishes_with_the_rollback(shop: Shop) -> None:
    chat, ann, _ = shop.scene
    with contextlib.suppress(ZeroDivisionError):
        async with shop.engine.begin() as connection:
            await connection.execute(ORDER, {"id": 1})
            await shop.messenger.within(connection).send(ann, chat, "I ordered")
            raise ZeroDivisionError
    assert (await texts(shop), await orders(shop)) == ([], [])
    await rung_by(shop, 0)


async def test_session_is_a_connection_too(shop: Shop) -> None:
    chat, ann, _ = shop.scene
    async with AsyncSession(shop.engine) as session:
        # The send may be the first statement, or follow others, of each transaction of a session.
        await shop.messenger.within(session).send(ann, chat, "one")
        await session.execute(ORDER, {"id": 1})
        await session.commit()
        await session.execute(ORDER, {"id": 2})
        await shop.messenger.within(session).send(ann, chat, "lost")
        await session.rollback()
        async with session.begin():
            await session.execute(ORDER, {"id": 3})
            await shop.messenger.within(session).send(ann, chat, "three")
    assert (await texts(shop), await orders(shop)) == (["one", "three"], [1, 3])
    await rung_by(shop, 2)


async def test_rollback_to_a_savepoint_takes_back_what_was_sent_after_it(shop: Shop) -> None:
    chat, ann, bob = shop.scene
    async with shop.engine.begin() as connection:
        within = shop.messenger.within(connection)
        outer = await connection.begin_nested()
        await within.send(ann, chat, "taken back")
        inner = await connection.begin_nested()
        await within.send(ann, chat, "taken back, too")
        await inner.commit()
        await outer.rollback()
    assert await texts(shop) == []
    await rung_by(shop, 0)
    async with shop.engine.begin() as connection:
        within = shop.messenger.within(connection)
        async with connection.begin_nested():
            await within.send(ann, chat, "kept")
        with contextlib.suppress(ZeroDivisionError):
            async with connection.begin_nested():
                await within.send(bob, chat, "taken back")
                raise ZeroDivisionError
        await within.send(bob, chat, "kept as well")
    assert await texts(shop) == ["outside", "kept", "kept as well"]
    await rung_by(shop, 3)


async def test_chat_opened_within_is_there_for_its_own_transaction(
    shop: Shop, store: SqlAlchemyStore
) -> None:
    bob, eve = shop.scene.bob, await add_user(store, "eve")
    for commits in (False, True):
        async with shop.engine.connect() as connection:
            within = shop.messenger.within(connection)
            chat, created = await within.ensure_chat(bob, eve)
            assert created
            assert await within.ensure_chat(eve, bob) == (chat, False)
            with pytest.raises(ChatExists):
                await within.open_chat(eve, bob)
            await within.send(eve, chat, "hello")
            with pytest.raises(ChatNotFound):
                await shop.messenger.chat_with(bob, "eve")
            await (connection.commit() if commits else connection.rollback())
        if not commits:
            # Nothing remembers a chat that never was.
            with pytest.raises(ChatNotFound):
                await shop.messenger.chat_with(bob, "eve")
            with pytest.raises(ChatNotFound):
                await shop.messenger.chat(bob, chat.id)
    assert await shop.messenger.chat_with(bob, "eve") == chat
    assert [it.text for it in (await shop.messenger.page(bob, chat)).messages] == ["hello"]
    # Of the opening and of the message.
    await rung_by(shop, 2)


async def test_refusal_leaves_the_transaction_usable(shop: Shop, store: SqlAlchemyStore) -> None:
    chat, ann, bob = shop.scene
    eve = await add_user(store, "eve")
    async with shop.engine.begin() as connection:
        within = shop.messenger.within(connection)
        await connection.execute(ORDER, {"id": 1})
        await within.send_once(ann, chat, "kept", "key")
        with pytest.raises(KeyReused):
            await within.send_once(ann, chat, "other", "key")
        with pytest.raises(ChatNotFound):
            # All or nothing: the first message is taken back.
            await within.send_all([Outgoing(bob, chat, "lost"), Outgoing(eve, chat, "no member")])
        with pytest.raises(SelfChat):
            await within.ensure_chat(ann, ann)
        with pytest.raises(UserNotFound):
            await within.ensure_chat(ann, User(10**6, "nobody", "Nobody"))
        with pytest.raises(UserNotFound):
            await within.open_chat(ann, User(10**6, "nobody", "Nobody", "a realm"))
        assert await within.send_all([]) == []
        await connection.execute(ORDER, {"id": 2})
    assert (await texts(shop), await orders(shop)) == (["kept"], [1, 2])


async def test_replays_hold_within_and_across_transactions(shop: Shop) -> None:
    chat, ann, _ = shop.scene
    async with shop.engine.connect() as connection:
        within = shop.messenger.within(connection)
        first = await within.send_once(ann, chat, "hello", "key")
        again = await within.send_all([Outgoing(ann, chat, "hello", "key")] * 2)
        assert [it.replayed for it in (first, *again)] == [False, True, True]
        await connection.rollback()
        # What was rolled back was not sent.
        assert not (await within.send_once(ann, chat, "hello", "key")).replayed
        await connection.commit()
        replay = await within.send_once(ann, chat, "hello", "key")
        assert replay.replayed
        await connection.commit()
    outside = await shop.messenger.send_once(ann, chat, "hello", "key")
    assert outside.replayed
    assert replay.message == outside.message
    assert await texts(shop) == ["hello"]
    await rung_by(shop, 1)


class Rules:
    """Refuses one word, and writes another in capitals. Counts the questions."""

    asked = 0

    async def may_open(self, user: User, peer: User, actor: Actor) -> Allow | Refuse:
        self.asked += 1
        return Refuse("shop_closed")

    async def may_send(self, draft: Draft) -> Allow | Rewrite | Refuse:
        self.asked += 1
        if draft.text == "bad":
            return Refuse("shop_bad_word")
        return Rewrite(draft.text.upper()) if draft.text == "loud" else Allow()


async def test_policy_is_asked_before_and_never_for_a_replay(
    shop: Shop, store: SqlAlchemyStore
) -> None:
    chat, ann, bob = shop.scene
    eve, rules = await add_user(store, "eve"), Rules()
    messenger = Messenger(store, policy=rules)
    async with shop.engine.begin() as connection:
        within = messenger.within(connection)
        with pytest.raises(PolicyRefused, match="shop_closed"):
            await within.ensure_chat(ann, eve)
        assert not (await within.ensure_chat(ann, bob)).created
        with pytest.raises(PolicyRefused, match="shop_bad_word"):
            await within.send_all([Outgoing(ann, chat, "good"), Outgoing(bob, chat, "bad")])
        assert (await within.send_once(ann, chat, "loud", "key")).message.text == "LOUD"
        asked = rules.asked
        assert (await within.send_once(ann, chat, "loud", "key")).replayed
        assert rules.asked == asked
        with pytest.raises(ChatNotFound):
            await within.send(eve, chat, "no member")
    assert await texts(shop) == ["LOUD"]


async def test_settings_and_names_of_the_host_stay_its_own(
    shop: Shop, postgres_url: str, store: SqlAlchemyStore
) -> None:
    chat, ann, _ = shop.scene
    settings = {"search_path": "shop", "lock_timeout": "1500ms", "statement_timeout": "0"}
    engine = create_async_engine(
        async_url(postgres_url), connect_args={"server_settings": settings}
    )

    async def now(connection: Any) -> dict[str, str]:
        return {
            name: await connection.scalar(text(f"SELECT current_setting('{name}')"))
            for name in settings
        }

    async with engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA shop"))
        # The host has tables of the same names, one of them temporary.
        await connection.execute(text("CREATE TABLE shop.chats (id TEXT)"))
        await connection.execute(text("CREATE TEMPORARY TABLE users (id TEXT)"))
        await shop.messenger.within(connection).send(ann, chat, "hello")
        assert await now(connection) == settings
        with pytest.raises(ChatNotFound):
            await shop.messenger.within(connection).send(User(10**6, "", ""), chat, "hello")
        assert await now(connection) == settings
        await connection.execute(text("INSERT INTO chats VALUES ('text')"))
    async with engine.connect() as connection:
        assert await now(connection) == settings
        # A setting that the host made local in this transaction stays, too.
        await connection.execute(text("SET LOCAL search_path = pg_catalog"))
        await shop.messenger.within(connection).send(ann, chat, "again")
        assert (await now(connection))["search_path"] == "pg_catalog"
        await connection.commit()
        assert await now(connection) == settings
    assert await texts(shop) == ["hello", "again"]
    await engine.dispose()


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT"])
async def test_other_isolation_level_is_refused(shop: Shop, level: str) -> None:
    chat, ann, _ = shop.scene
    engine = shop.engine.execution_options(isolation_level=level)
    async with engine.connect() as connection:
        with pytest.raises(RuntimeError, match=r"READ COMMITTED|AUTOCOMMIT"):
            await shop.messenger.within(connection).send(ann, chat, "hello")
    assert await texts(shop) == []


async def test_other_database_is_refused(
    shop: Shop, empty_database: str, postgres: PostgresServer, migrated_template: str
) -> None:
    chat, ann, _ = shop.scene
    copy = postgres.new_database(migrated_template)
    postgres.sql("UPDATE store SET log = 'another'", copy)
    for url in (empty_database, postgres.url(copy)):
        engine = create_async_engine(async_url(url))
        async with engine.begin() as connection:
            with pytest.raises(
                RuntimeError, match=r"another database|cannot use chatcore's tables"
            ):
                await shop.messenger.within(connection).send(ann, chat, "hello")
            assert await connection.scalar(text("SELECT 1")) == 1
        await engine.dispose()
    postgres.drop_database(copy)
    assert await texts(shop) == []


async def test_other_connection_is_refused(shop: Shop, postgres_url: str) -> None:
    raw = await asyncpg.connect(postgres_url)
    for other in (raw, shop.engine, None):
        with pytest.raises(TypeError, match=r"AsyncSession.*outbox"):
            shop.messenger.within(other)
    await raw.close()


async def test_two_stores_share_a_transaction(shop: Shop, postgres_url: str) -> None:
    chat, ann, _ = shop.scene
    async with await SqlAlchemyStore.open(postgres_url) as other:
        assert isinstance(other, HostTransactions)
        async with shop.engine.begin() as connection:
            await Messenger(other).within(connection).send(ann, chat, "one")
            await shop.messenger.within(connection).send(ann, chat, "two")
    assert await texts(shop) == ["one", "two"]
    await rung_by(shop, 1)


async def test_lost_connection_stores_and_rings_nothing(
    shop: Shop, postgres: PostgresServer, postgres_url: str
) -> None:
    chat, ann, _ = shop.scene
    connection = await shop.engine.connect()
    await shop.messenger.within(connection).send(ann, chat, "lost")
    await connection.invalidate()
    await connection.close()
    assert await texts(shop) == []
    await rung_by(shop, 0)


async def test_connection_lost_during_a_step_does_not_fail_it(
    postgres: PostgresServer, postgres_url: str
) -> None:
    async with await SqlAlchemyStore.open(postgres_url) as store:
        chat, ann, _ = await ann_and_bob(store)
        engine = create_async_engine(async_url(postgres_url))

        def lose(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("SAVEPOINT"):
                of_store = f"application_name = 'chatcore' AND datname = '{name_of(postgres_url)}'"
                kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
                postgres.sql(f"{kill} {of_store}")
                await_only(store.last_seq(chat.id))

        event.listen(engine.sync_engine, "before_cursor_execute", lose)
        async with engine.begin() as connection:
            sent = await Messenger(store).within(connection).send(ann, chat, "I ordered")
        await engine.dispose()
        assert await store.messages_before(chat.id, None, limit=1) == [sent]
