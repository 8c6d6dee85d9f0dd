"""Databases that the plugin opens by their URL, and closes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import AsyncTestClient, TestClient

from chatcore import MessageSent
from chatcore_litestar_plugin import ChatPlugin
from chatcore_sqlalchemy import CannotOpen
from tests.support.litestar_host import chat, host
from tests.support.postgres_server import PostgresServer, name_of

PASSWORD = "correct horse battery"


def on(url: str, **options: Any) -> ChatPlugin:
    return chat(store=None, database_url=url, **options)


def test_data_outlives_the_application(tmp_path: Path) -> None:
    app = host(plugins=[on(f"sqlite:///{tmp_path}/chat.db")])
    statuses = []
    for _ in range(2):
        # Starts and stops the application, on an event loop of its own.
        with TestClient(app) as client:
            ann = {"username": "ann", "password": PASSWORD}
            statuses.append(client.post("/support/register", json=ann).status_code)
            assert client.post("/support/login", json=ann).status_code == 200
    assert statuses == [201, 400]


async def test_a_database_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chat.db"
    first, second = on(url), on(url)
    async with AsyncTestClient(host(plugins=[first])):
        with pytest.raises(CannotOpen, match="is in use by another process"):
            async with second.lifespan():
                pass
    async with AsyncTestClient(host(plugins=[second])) as client:
        assert (await client.get("/support/chats")).status_code == 401


async def test_processes_on_postgresql_ring_for_each_other(
    postgres: PostgresServer, postgres_url: str
) -> None:
    one, two = on(postgres_url), on(postgres_url)

    def listening() -> int:
        # The newest query of each connection.
        queries = postgres.sql("SELECT datname, query FROM pg_stat_activity").splitlines()
        return sum(
            line.startswith(f"{name_of(postgres_url)}|")
            and ("LISTEN" in line or "pg_notify" in line)
            for line in queries
        )

    async with one.lifespan(), two.lifespan():
        async with asyncio.timeout(60):
            while await asyncio.to_thread(listening) < 2:  # noqa: ASYNC110, no event is set
                await asyncio.sleep(0.05)
        ann, bob = [await one.accounts.register(name, PASSWORD) for name in ("ann", "bob")]
        opened = await one.messenger.open_chat(ann, bob)
        following = two.messenger.follow(bob)
        await following.start()
        await one.messenger.send(ann, opened, "hello")
        async with asyncio.timeout(60):
            [event] = await following.batch(60)
    assert isinstance(event, MessageSent)
    assert event.message.text == "hello"


async def test_postgresql_that_was_not_migrated_is_refused(empty_database: str) -> None:
    with pytest.raises(CannotOpen, match="migrate"):
        async with on(empty_database).lifespan():
            pass
