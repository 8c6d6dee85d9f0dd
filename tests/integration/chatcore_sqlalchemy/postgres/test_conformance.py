"""The stores on PostgreSQL keep every promise."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from chatcore.testing import (
    ACCOUNT_STORE_CHECKS,
    CHAT_STORE_CHECKS,
    ERASURE_CHECKS,
    AccountStoreCheck,
    ChatStoreCheck,
    ErasureCheck,
)
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.schema import metadata
from tests.support.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """One database for all checks: to make and drop one takes as long as ten checks."""
    name = postgres.new_database(migrated_template)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlAlchemyStore]:
    """Empty, and with memories of its own."""
    connection = await asyncpg.connect(url)
    try:
        emptied = [table.name for table in reversed(metadata.sorted_tables)]
        emptied.remove("store")
        # As one transaction: each would wait for the disk.
        await connection.execute(";".join(f"DELETE FROM {name}" for name in emptied))  # noqa: S608
    finally:
        await connection.close()
    async with await SqlAlchemyStore.open(url) as store:
        yield store


@pytest.mark.parametrize("check", ACCOUNT_STORE_CHECKS, ids=lambda check: check.__name__)
async def test_account_store(check: AccountStoreCheck, store: SqlAlchemyStore) -> None:
    await check(store)


@pytest.mark.parametrize("check", CHAT_STORE_CHECKS, ids=lambda check: check.__name__)
async def test_chat_store(check: ChatStoreCheck, store: SqlAlchemyStore) -> None:
    await check(store)


@pytest.mark.parametrize("check", ERASURE_CHECKS, ids=lambda check: check.__name__)
async def test_whole_store(check: ErasureCheck, store: SqlAlchemyStore) -> None:
    await check(store)
