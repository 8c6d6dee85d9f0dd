"""The nodes of one database see each other's keys."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from chatcore.model import to_microseconds, utc_now
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.queries.nodes import REMEMBERED_US

MINUTE_US = 60_000_000
NOW_US = 1_800_000_000_000_000


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[list[SqlAlchemyStore]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(await SqlAlchemyStore.open(postgres_url))
            for _ in range(3)
        ]


async def see(store: SqlAlchemyStore, node: str, keys: str, now_us: int = NOW_US) -> int | None:
    return await store.see_node(node, lambda _: keys.split(), now_us)


async def test_nodes_agree_when_each_two_share_a_key(stores: list[SqlAlchemyStore]) -> None:
    one, two, three = stores
    assert await see(one, "one", "a") is None
    assert await see(two, "two", "b") == NOW_US
    assert await see(two, "two", "b a") is None
    assert await see(three, "three", "b", NOW_US + 1) == NOW_US
    assert await see(one, "one", "b a", NOW_US + 2) is None
    assert await see(three, "three", "b", NOW_US + 3) is None
    # A node that is refused is not recorded, and keeps no other from starting.
    assert await see(one, "four", "c") is not None
    assert await see(one, "five", "b") is None


async def test_node_counts_until_it_stops_or_for_three_minutes(
    stores: list[SqlAlchemyStore],
) -> None:
    one, two, _ = stores
    assert await see(one, "one", "a") is None
    assert await see(two, "two", "b", NOW_US + REMEMBERED_US) == NOW_US
    assert await see(two, "two", "b", NOW_US + REMEMBERED_US + 1) is None
    # Forgotten, it is recorded again only with a key of the present ones.
    assert await see(one, "one", "a", NOW_US + REMEMBERED_US + 2) is not None
    await two.drop_node("two")
    assert await see(one, "one", "a", NOW_US + REMEMBERED_US + 3) is None
    # Its time may be that of a server whose clock was an hour ahead.
    assert await see(two, "two", "b", NOW_US - 3_600_000_000) is None


async def test_of_simultaneous_starts_one_wins(stores: list[SqlAlchemyStore]) -> None:
    for turn in range(8):
        nodes = [f"{turn}-{n}" for n in range(6)]
        outcomes = await asyncio.gather(
            *(see(stores[n % 3], node, f"key-{n % 2}") for n, node in enumerate(nodes))
        )
        started = {n % 2 for n, outcome in enumerate(outcomes) if outcome is None}
        assert len(started) == 1
        assert outcomes.count(None) == 3
        for node in nodes:
            await stores[0].drop_node(node)


async def test_digests_are_made_from_the_name_of_the_store(stores: list[SqlAlchemyStore]) -> None:
    names = []
    for store in stores:
        await store.see_node("one", lambda name: [names.append(name) or "a"], NOW_US)  # type: ignore[func-returns-value]
    [name] = {*names}
    assert name == (await stores[0].end_of_log(1)).log


async def test_time_is_that_of_the_database(stores: list[SqlAlchemyStore]) -> None:
    before = to_microseconds(utc_now())
    time_us = await stores[0].time_us()
    assert time_us is not None
    # The server runs on this machine, whose clock may be set in between.
    assert before - MINUTE_US <= time_us <= to_microseconds(utc_now()) + MINUTE_US
