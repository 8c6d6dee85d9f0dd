"""A primary whose synchronous standby is away."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from chatcore import NewMessage, StoreUnavailable, UserName
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore, migrate
from chatcore_sqlalchemy.postgres import connection
from tests.integration.failover.witness import NOW
from tests.support.soak import long
from tests.support.standby import primary_and_standby

SECONDS = 120

T = TypeVar("T")

pytestmark = [
    long,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, which Linux has"),
]


async def test_nothing_is_acknowledged_while_the_synchronous_standby_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A repeated send neither: PostgreSQL shows the first one after its wait was cancelled, and the
    standby still lacks it."""
    with primary_and_standby(synchronous=True) as pair:
        database = pair.primary.new_database()
        url = pair.primary.url(database)
        await migrate(url)
        async with await SqlAlchemyStore.open(url) as store:
            names = UserName("ann"), UserName("bob")
            ann, bob = [await store.add_user(name, "no password", NOW) for name in names]
            chat = await store.open_chat(ann.id, bob.id, NOW)
        message = NewMessage(chat.id, ann.id, "hello", NOW, "key")
        # Each send below waits so long. A busy machine may be as slow, so all else is repeated.
        monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.5)
        async with await repeated(partial(SqlAlchemyStore.open, url)) as store:
            pair.standby.freeze()
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await store.append_message(message)
            assert await repeated(partial(store.user_by_id, ann.id)) == ann
        monkeypatch.undo()
        pair.standby.thaw()
        async with await SqlAlchemyStore.open(url) as store:
            sent = await repeated(partial(store.append_message, message))
        pair.primary.kill()
        pair.standby.promote()
        async with await SqlAlchemyStore.open(pair.standby.url(database)) as store:
            assert await store.messages_after(chat.id, 0, limit=10) == [sent.message]
            again = await repeated(partial(store.append_message, message))
            assert again == sent._replace(replayed=True)


async def repeated(attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of the first attempt that succeeds."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await attempt()
            except (CannotOpen, StoreUnavailable):
                await asyncio.sleep(0.1)
