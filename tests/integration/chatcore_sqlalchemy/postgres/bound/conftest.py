"""A host: a program with an engine of its own on the database of the store."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chatcore import LocalDoorbell, Messenger
from chatcore.testing.scene import Scene
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.chatcore_sqlalchemy.places import Place

FOR_EVER = 3600.0


class Rings:
    """Counts the rings for one user, and waits for them."""

    def __init__(self) -> None:
        self.count = 0
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self.count += 1
        self._rung.set()

    async def wait(self) -> None:
        async with asyncio.timeout(60):
            await self._rung.wait()
        self._rung.clear()


class Shop(NamedTuple):
    """The host, two users of the chat, and what the peer hears."""

    engine: AsyncEngine
    messenger: Messenger
    scene: Scene
    rings: Rings


@pytest.fixture
async def engine(place: Place) -> AsyncIterator[AsyncEngine]:
    engine = place.engine()
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
    yield engine
    await engine.dispose()


@pytest.fixture
def shop(engine: AsyncEngine, store: SqlAlchemyStore, scene: Scene) -> Shop:
    # Without polls, an event is heard by its ring alone.
    doorbell, rings = LocalDoorbell(), Rings()
    messenger = Messenger(store, doorbell=doorbell, poll_seconds=FOR_EVER)
    doorbell.listen(scene.bob.id, rings.ring)
    return Shop(engine, messenger, scene, rings)
