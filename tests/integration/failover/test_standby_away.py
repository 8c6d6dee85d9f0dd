"""A primary whose synchronous standby is away."""

import asyncio
from pathlib import Path

import pytest

from chatcore import NewMessage, Sent, StoreUnavailable, UserName
from chatcore_sqlalchemy import SqlAlchemyStore, migrate
from chatcore_sqlalchemy.postgres import connection
from tests.integration.failover.witness import NOW
from tests.support.soak import long
from tests.support.standby import primary_and_standby

SECONDS = 120

pytestmark = [
    long,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, which Linux has"),
]


async def test_nothing_is_acknowledged_while_the_synchronous_standby_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A repeated send neither: PostgreSQL shows the first one after its wait was cancelled, and the
    standby still lacks it."""
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.5)
    with primary_and_standby(synchronous=True) as pair:
        database = pair.primary.new_database()
        await migrate(pair.primary.url(database))
        async with await SqlAlchemyStore.open(pair.primary.url(database)) as store:
            names = UserName("ann"), UserName("bob")
            ann, bob = [await store.add_user(name, "no password", NOW) for name in names]
            chat = await store.open_chat(ann.id, bob.id, NOW)
            message = NewMessage(chat.id, ann.id, "hello", NOW, "key")
            pair.standby.freeze()
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await store.append_message(message)
            assert await store.user_by_id(ann.id) == ann
            pair.standby.thaw()
            sent = await acknowledged(store, message)
        pair.primary.kill()
        pair.standby.promote()
        async with await SqlAlchemyStore.open(pair.standby.url(database)) as store:
            assert await store.messages_after(chat.id, 0, limit=10) == [sent.message]
            assert await acknowledged(store, message) == sent._replace(replayed=True)


async def acknowledged(store: SqlAlchemyStore, message: NewMessage) -> Sent:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await store.append_message(message)
            except StoreUnavailable:
                await asyncio.sleep(0.1)
