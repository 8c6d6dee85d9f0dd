"""A web framework that gives each request a session, and commits it after the handler."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
from litestar import Litestar, post
from litestar.di import NamedDependency, Provide
from litestar.exceptions import ClientException
from litestar.params import FromPath
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from tests.integration.chatcore_sqlalchemy.postgres.bound.conftest import Shop


async def test_request_commits_or_rolls_back_its_order_and_message(shop: Shop) -> None:
    chat, ann, _ = shop.scene
    sessions = async_sessionmaker(shop.engine)

    async def session_of_request() -> AsyncIterator[AsyncSession]:
        async with sessions.begin() as session:
            yield session

    @post("/orders/{number:int}", dependencies={"session": Provide(session_of_request)})
    async def order(number: FromPath[int], session: NamedDependency[AsyncSession]) -> str:
        await session.execute(text("INSERT INTO orders (id) VALUES (:id)"), {"id": number})
        await shop.messenger.within(session).send(ann, chat, f"order {number}")
        if number > 2:
            raise ClientException("out of stock")
        return "ordered"

    # The logging configuration would leak into all later tests.
    app: Any = Litestar([order], openapi_config=None, logging_config=None)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        statuses = [(await client.post(f"/orders/{number}")).status_code for number in (1, 3, 2, 4)]
    assert statuses == [201, 400, 201, 400]
    page = await shop.messenger.page(ann, chat)
    assert [message.text for message in page.messages] == ["order 1", "order 2"]
    async with shop.engine.connect() as connection:
        assert [*await connection.scalars(text("SELECT id FROM orders ORDER BY id"))] == [1, 2]
    while shop.rings.count < 2:
        await shop.rings.wait()
