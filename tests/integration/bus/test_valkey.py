"""Doorbells through Valkey: its connections, passwords and URLs."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from chatcore_valkey import ValkeyDoorbell
from tests.support.bus_servers import Bus, valkey

SECONDS = 60


@pytest.fixture(scope="module")
def server() -> Iterator[Bus]:
    with valkey() as bus:
        yield bus


async def test_connection_that_the_server_ended_is_replaced(server: Bus) -> None:
    async with (
        asyncio.timeout(SECONDS),
        Redis.from_url(server.url.replace("valkey", "redis")) as operator,
        await server.doorbell("chatcore") as here,
        await server.doorbell("chatcore") as there,
    ):
        by_return, by_ring = asyncio.Event(), asyncio.Event()
        there.listen(7, by_return.set)
        there.listen(8, by_ring.set)
        assert await operator.client_kill_filter(_type="pubsub") == 2
        here.ring([8])
        await by_return.wait()
        await by_ring.wait()


async def test_foreign_publications_are_ignored(
    server: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        asyncio.timeout(SECONDS),
        Redis.from_url(server.url.replace("valkey", "redis")) as operator,
        await server.doorbell("chatcore") as here,
        await server.doorbell("chatcore") as there,
    ):
        for word in (b"", b"hello", b"1 0123456789abcdef x", b"\xff" * 100_000):
            assert await operator.publish("chatcore", word) == 2
        woken = asyncio.Event()
        there.listen(7, woken.set)
        here.ring([7])
        await woken.wait()
    assert not caplog.records


async def test_password_of_the_url_is_used(server: Bus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    place = server.url.rpartition("/")[2]
    async with Redis.from_url(server.url.replace("valkey", "redis")) as operator:
        await operator.acl_setuser(
            "ann", enabled=True, passwords=["+pass:word/1"], commands=["+@all"], channels=["*"]
        )
        woken = asyncio.Event()
        async with asyncio.timeout(SECONDS):
            async with (
                await ValkeyDoorbell.open(f"valkey://ann:pass%3Aword%2F1@{place}/0") as here,
                await ValkeyDoorbell.open(f"redis://ann:pass%3Aword%2F1@{place}") as there,
            ):
                assert not caplog.records
                there.listen(7, woken.set)
                here.ring([7])
                await woken.wait()
            async with await ValkeyDoorbell.open(f"valkey://ann:wrong-word@{place}"):
                [record] = caplog.records
        assert f"no connection to Valkey at {place}" in record.message
        assert "wrong-word" not in record.message


@pytest.mark.parametrize("url", ["", "localhost", "nats://localhost", "valkey:/localhost"])
async def test_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        await ValkeyDoorbell.open(url)
