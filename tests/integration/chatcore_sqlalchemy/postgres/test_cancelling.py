"""A caller that is cancelled leaves nothing of its transaction to the next one, and neither a
cancelled opening nor a close leaves a connection."""

import asyncio
import contextlib

import pytest

from chatcore import StoreUnavailable
from chatcore.testing.scene import add_user
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.postgres_proxy import Fate, proxy_to
from tests.support.postgres_server import PostgresServer, name_of

SECONDS = 60


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
        async with asyncio.timeout(SECONDS):
            await begun.wait()
        adding.cancel()
        proxy.go_on()
        with contextlib.suppress(asyncio.CancelledError):
            await adding
        assert adding.cancelled()
        await add_user(store, "bob")
        assert opened == 1


async def test_cancelled_opening_leaves_no_connection(
    postgres: PostgresServer, postgres_url: str
) -> None:
    reading = asyncio.Event()

    def judge(message: bytes) -> Fate:
        # The first query of the writer's session.
        if b"pg_control_system" not in message or reading.is_set():
            return Fate.PASSES
        reading.set()
        return Fate.STALLS

    async with proxy_to(postgres_url) as (proxy, url):
        proxy.judge = judge
        opening = asyncio.create_task(SqlAlchemyStore.open(url))
        async with asyncio.timeout(SECONDS):
            await reading.wait()
            opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await opening
            proxy.go_on()
            assert opening.cancelled()
            while sessions(postgres, postgres_url):  # noqa: ASYNC110 (a server has no event)
                await asyncio.sleep(0.01)


async def test_nothing_is_done_on_a_connection_made_after_the_close(postgres_url: str) -> None:
    asked, queries = asyncio.Event(), []

    def judge(message: bytes) -> Fate:
        if asked.is_set():
            queries.append(message)
            return Fate.PASSES
        if message.startswith(b"QSET "):
            asked.set()
            return Fate.STALLS
        return Fate.PASSES

    async with proxy_to(postgres_url) as (proxy, url), await SqlAlchemyStore.open(url) as store:
        proxy.judge = judge
        adding = asyncio.create_task(add_user(store, "ann"))
        async with asyncio.timeout(SECONDS):
            await asked.wait()
            await store.close()
            proxy.go_on()
            with pytest.raises(StoreUnavailable):
                await adding
        assert not [query for query in queries if b"INSERT" in query]


def sessions(postgres: PostgresServer, url: str) -> int:
    of_store = f"datname = '{name_of(url)}' AND application_name = 'chatcore'"
    return int(postgres.sql(f"SELECT count(*) FROM pg_stat_activity WHERE {of_store}"))  # noqa: S608
