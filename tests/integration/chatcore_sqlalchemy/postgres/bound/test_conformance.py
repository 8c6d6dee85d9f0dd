"""A store that writes each chat and message in a transaction of a host keeps every promise."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chatcore import Chat, NewMessage, Sent
from chatcore.testing import CHAT_STORE_CHECKS, ERASURE_CHECKS, checks_for
from chatcore.testing.chats import CHAT_CHECKS
from chatcore.testing.keys import KEY_CHECKS
from chatcore.testing.messages import MESSAGE_CHECKS
from chatcore.testing.numbering import NUMBERING_CHECKS
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.chatcore_sqlalchemy.places import Place
from tests.support.postgres_server import PostgresServer
from tests.support.soak import SOAK

CHECKS: tuple[Any, ...] = (
    (*CHAT_STORE_CHECKS, *ERASURE_CHECKS)
    if SOAK
    else (*CHAT_CHECKS, *MESSAGE_CHECKS, *NUMBERING_CHECKS, *KEY_CHECKS)
)


class ThroughHost(SqlAlchemyStore):
    """Opens each chat and appends each message in a host's transaction of its own."""

    engine: AsyncEngine

    @classmethod
    async def on(cls, place: Place) -> Self:
        store = await cls.open(place.url, pooler=place.pooler)
        store.engine = place.engine(pool_size=8, max_overflow=0, pool_timeout=60)
        return store

    async def close(self) -> None:
        await self.engine.dispose()
        await super().close()

    async def _within(self, work: Any) -> Any:
        async with self.engine.begin() as connection:
            return await work(self.bound(connection))

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        chat: Chat = await self._within(lambda store: store.open_chat(user_id, peer_id, opened_us))
        return chat

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        chat: Chat | None = await self._within(lambda store: store.chat_with(user_id, peer))
        return chat

    async def append_message(self, new: NewMessage) -> Sent:
        [sent] = await self._within(lambda store: store.append_messages([new]))
        assert isinstance(sent, Sent)
        return sent

    async def replay_of(self, new: NewMessage) -> Sent | None:
        sent: Sent | None = await self._within(lambda store: store.replay_of(new))
        return sent


@pytest.fixture(scope="module")
def shared_database(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    name = postgres.new_database(migrated_template)
    yield name
    postgres.drop_database(name)


@pytest.fixture
def postgres_url(postgres: PostgresServer, shared_database: str) -> str:
    postgres.empty(shared_database)
    return postgres.url(shared_database)


@pytest.fixture
async def through_host(place: Place) -> AsyncIterator[ThroughHost]:
    async with await ThroughHost.on(place) as store:
        yield store


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_store_within_a_host_passes_the_checks(check: Any, through_host: ThroughHost) -> None:
    held = checks_for(through_host)
    assert check in (*held["CHAT_STORE_CHECKS"], *held["ERASURE_CHECKS"])
    await check(through_host)
