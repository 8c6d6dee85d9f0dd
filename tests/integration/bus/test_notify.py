"""Doorbells through PostgreSQL: its sessions and channels."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from chatcore_notify import NotifyDoorbell
from tests.support.postgres_server import PostgresServer

SECONDS = 60


def a_wake() -> tuple[asyncio.Event, Callable[[], None]]:
    woken = asyncio.Event()
    return woken, woken.set


async def test_terminated_session_is_replaced_and_wakes_listeners(postgres: PostgresServer) -> None:
    database = postgres.new_database()
    url = postgres.url(database)
    async with (
        asyncio.timeout(SECONDS),
        await NotifyDoorbell.open(url) as here,
        await NotifyDoorbell.open(url) as there,
    ):
        for user_id in range(1, 4):
            woken, wake = a_wake()
            leave = there.listen(user_id, wake)
            assert postgres.kill_backends(database) == 2
            # Not by a ring: a new connection makes listeners look for missed messages.
            await woken.wait()
            leave()
            woken, wake = a_wake()
            leave = there.listen(100 + user_id, wake)
            while not woken.is_set():
                here.ring([100 + user_id])
                await asyncio.sleep(0.01)
            leave()
    assert postgres.kill_backends(database) == 0
    postgres.drop_database(database)


async def test_foreign_notifications_on_the_channel_are_ignored(
    postgres: PostgresServer, empty_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = empty_database.partition("@/")[2].partition("?")[0]
    async with (
        asyncio.timeout(SECONDS),
        await NotifyDoorbell.open(empty_database) as here,
        await NotifyDoorbell.open(empty_database) as there,
    ):
        for word in ("", "hello", "1", "2 0123456789abcdef 7", "1 0123456789abcdef x", "é" * 3000):
            postgres.sql(f"NOTIFY chatcore, '{word}'", name)
        woken, wake = a_wake()
        there.listen(7, wake)
        here.ring([7])
        await woken.wait()
    assert not caplog.records


async def test_any_channel_name_is_quoted_correctly(empty_database: str) -> None:
    channel = """Chat "core"; '$1' é"""
    async with (
        asyncio.timeout(SECONDS),
        await NotifyDoorbell.open(empty_database, channel=channel) as here,
        await NotifyDoorbell.open(empty_database, channel=channel) as there,
    ):
        woken, wake = a_wake()
        there.listen(7, wake)
        here.ring([7])
        await woken.wait()


async def test_refused_connection_is_reported(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = postgres.url(user="somebody").replace("somebody@", "somebody:wrong-word@")
    async with asyncio.timeout(SECONDS), await NotifyDoorbell.open(url) as doorbell:
        woken, wake = a_wake()
        doorbell.listen(7, wake)
        doorbell.ring([7])
        assert woken.is_set()
    [record] = caplog.records
    assert "no connection to PostgreSQL at /postgres" in record.message
    assert "wrong-word" not in record.message


@pytest.mark.parametrize("url", ["", "localhost", "redis://localhost", "sqlite:///file"])
async def test_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://"):
        await NotifyDoorbell.open(url)
