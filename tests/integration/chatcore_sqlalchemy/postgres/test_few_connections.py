"""A server with room for fewer connections than the store uses."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import NoneType

import asyncpg
import pytest

from chatcore import StoreUnavailable
from chatcore.testing.scene import Scene, ann_and_bob, send
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore
from chatcore_sqlalchemy.postgres import kept_connection, pool
from chatcore_sqlalchemy.postgres.database import CONNECTIONS
from tests.integration.chatcore_server import test_service
from tests.support.api import api_at
from tests.support.apps import SECRET
from tests.support.clients import client_at
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.service import QuickService
from tests.support.serving_role import serving_role

SECONDS = 60
READS = 3 * CONNECTIONS


class Room:
    """A role with a limit of connections, which can be changed."""

    def __init__(self, server: PostgresServer, url: str, role: str) -> None:
        self._server = server
        self._role = role
        self.database = name_of(url)
        self.url = url.replace("postgres@", f"{role}@")

    def limit(self, connections: int) -> None:
        self._server.sql(f"ALTER ROLE {self._role} CONNECTION LIMIT {connections}")

    def used(self) -> int:
        count = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{self._role}'"  # noqa: S608
        return int(self._server.sql(count))

    def cut(self) -> None:
        """Break all connections of the role."""
        self._server.kill_backends(self.database)


@pytest.fixture
def room(postgres: PostgresServer, postgres_url: str) -> Iterator[Room]:
    with serving_role(postgres, name_of(postgres_url)) as role:
        yield Room(postgres, postgres_url, role)


@pytest.fixture
async def store(room: Room) -> AsyncIterator[SqlAlchemyStore]:
    async with await SqlAlchemyStore.open(room.url) as store:
        yield store


@pytest.fixture
async def scene(store: SqlAlchemyStore) -> Scene:
    return await ann_and_bob(store)


async def read_at_once(store: SqlAlchemyStore, scene: Scene) -> None:
    """More reads than the store has connections."""
    reading = (store.user_by_id(scene.ann.id) for _ in range(READS))
    assert await asyncio.gather(*reading) == [scene.ann] * READS


async def test_opening_without_room_is_refused(room: Room) -> None:
    room.limit(0)
    with pytest.raises(CannotOpen, match="cannot open the database: too many connections"):
        await SqlAlchemyStore.open(room.url)


async def test_store_keeps_a_connection_for_messages_from_the_start(room: Room) -> None:
    async with await SqlAlchemyStore.open(room.url):
        assert room.used() == 1


@pytest.mark.parametrize("connections", [2, 3])
async def test_reads_share_what_sends_leave_them(
    connections: int, room: Room, store: SqlAlchemyStore, scene: Scene
) -> None:
    room.limit(connections)
    room.cut()
    await read_at_once(store, scene)
    assert (await send(store, scene.chat, scene.ann, "one")).message.seq == 1
    await store.check_writes()
    assert room.used() == connections


async def test_reads_do_not_keep_the_last_connection(
    room: Room, store: SqlAlchemyStore, scene: Scene
) -> None:
    await read_at_once(store, scene)
    room.limit(1)
    room.cut()
    reading = [asyncio.create_task(store.user_by_id(scene.ann.id)) for _ in range(READS)]
    assert (await send(store, scene.chat, scene.ann, "one")).message.seq == 1
    await asyncio.wait(reading)
    assert {type(each.exception()) for each in reading} <= {NoneType, StoreUnavailable}
    with pytest.raises(StoreUnavailable, match="too many connections"):
        await store.user_by_id(scene.ann.id)
    assert (await send(store, scene.chat, scene.ann, "two")).message.seq == 2
    # No request could be served.
    with pytest.raises(StoreUnavailable, match="too many connections"):
        await store.check_writes()
    room.limit(CONNECTIONS)
    await store.check_writes()


async def test_lost_connection_for_messages_takes_the_place_of_a_read(
    room: Room, store: SqlAlchemyStore, scene: Scene, postgres: PostgresServer
) -> None:
    await read_at_once(store, scene)
    room.limit(CONNECTIONS)
    await send(store, scene.chat, scene.ann, "one")
    ended = (
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
        "WHERE query = 'COMMIT' AND datname = current_database()"
    )
    assert postgres.sql(ended, room.database) == "t"
    assert (await send(store, scene.chat, scene.ann, "two")).message.seq == 2
    await read_at_once(store, scene)


async def test_lost_connection_for_messages_is_restored_without_a_request(
    room: Room, store: SqlAlchemyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_connection, "RESTORE_SECONDS", 0.01)
    room.limit(0)
    room.cut()
    assert room.used() == 0
    room.limit(1)
    async with asyncio.timeout(SECONDS):
        while not await asyncio.to_thread(room.used):
            pass


async def test_reads_use_more_connections_once_there_is_room(
    room: Room, store: SqlAlchemyStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "RETRY_SECONDS", 0.01)
    room.limit(2)
    room.cut()
    await read_at_once(store, scene)
    assert room.used() == 2
    room.limit(-1)
    async with asyncio.timeout(SECONDS):
        while room.used() < 1 + CONNECTIONS:
            await read_at_once(store, scene)


async def test_sends_succeed_while_others_have_used_up_the_server(
    room: Room, store: SqlAlchemyStore, scene: Scene
) -> None:
    async with AsyncExitStack() as stack:
        room.limit(1 + CONNECTIONS)

        async def connect() -> None:
            stack.push_async_callback((await asyncpg.connect(room.url)).close)

        for _ in range(1 + CONNECTIONS - room.used()):
            await connect()
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await connect()
        for seq in range(1, 4):
            assert (await send(store, scene.chat, scene.ann, f"{seq}")).message.seq == seq
            await read_at_once(store, scene)
        await store.check_writes()


async def test_service_is_ready_exactly_while_it_can_send(room: Room, tmp_path: Path) -> None:
    with QuickService(tmp_path, database_url=room.url, secret=SECRET) as service:

        async def until_ready(status: int) -> None:
            with client_at(service.url) as http:
                await asyncio.to_thread(test_service.until_ready, http, status)

        async with api_at(service.url) as api:
            ann, bob = await api.chat()
            # One for messages, one for reads, one that listens.
            room.limit(3)
            room.cut()
            await until_ready(200)
            for _ in range(READS):
                assert (await api.send(ann, bob.name, "on")).status_code == 201
                assert (await api.read(ann, bob.name)).status_code == 200
            room.limit(0)
            room.cut()
            await until_ready(503)
            assert (await api.send(ann, bob.name, "lost")).status_code == 503
            room.limit(-1)
            await until_ready(200)
            assert (await api.send(ann, bob.name, "again")).status_code == 201
