"""A caller that is cancelled leaves nothing of its transaction to the next one."""

import asyncio
import contextlib

from chatcore.testing.scene import add_user
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.postgres_proxy import Fate, proxy_to


async def test_cancelled_begin_ends_its_connection(postgres_url: str) -> None:
    begun, opened = asyncio.Event(), 0

    def judge(message: bytes) -> Fate:
        nonlocal opened
        opened += message.startswith(b"QSET ")
        if not message.startswith(b"QBEGIN") or begun.is_set():
            return Fate.PASSES
        begun.set()
        return Fate.STALLS

    async with proxy_to(postgres_url) as (proxy, url), await SqlAlchemyStore.open(url) as store:
        await store.user_by_name("ann")
        proxy.judge = judge
        adding = asyncio.create_task(add_user(store, "ann"))
        async with asyncio.timeout(60):
            await begun.wait()
        adding.cancel()
        proxy.go_on()
        with contextlib.suppress(asyncio.CancelledError):
            await adding
        assert adding.cancelled()
        await add_user(store, "bob")
        assert opened == 1
