"""Each SQL store keeps every promise of the ports."""

from collections.abc import Iterator

import pytest

from chatcore.testing import (
    ACCOUNT_STORE_CHECKS,
    CHAT_STORE_CHECKS,
    ERASURE_CHECKS,
    PEOPLE_CHECKS,
    REALM_CHECKS,
    RENAMING_CHECKS,
    AccountStoreCheck,
    ChatStoreCheck,
    ErasureCheck,
    PeopleCheck,
)
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.chatcore_sqlalchemy.places import ON_POSTGRES, SQLITE, Place, place_of
from tests.support.postgres_server import PostgresServer


@pytest.fixture(params=[SQLITE, *ON_POSTGRES])
def place(request: pytest.FixtureRequest) -> Place:
    return place_of(request)


@pytest.fixture(scope="module")
def shared_database(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    name = postgres.new_database(migrated_template)
    yield name
    postgres.drop_database(name)


@pytest.fixture
def postgres_url(postgres: PostgresServer, shared_database: str) -> str:
    """The URL of one database for all checks: to empty it takes a tenth of the time that a new one
    takes."""
    postgres.empty(shared_database)
    return postgres.url(shared_database)


@pytest.mark.parametrize("check", ACCOUNT_STORE_CHECKS, ids=lambda check: check.__name__)
async def test_sql_store_passes_the_account_store_checks(
    check: AccountStoreCheck, store: SqlAlchemyStore
) -> None:
    await check(store)


@pytest.mark.parametrize("check", CHAT_STORE_CHECKS, ids=lambda check: check.__name__)
async def test_sql_store_passes_the_chat_store_checks(
    check: ChatStoreCheck, store: SqlAlchemyStore
) -> None:
    await check(store)


@pytest.mark.parametrize(
    "check", [*PEOPLE_CHECKS, *RENAMING_CHECKS, *REALM_CHECKS], ids=lambda check: check.__name__
)
async def test_sql_store_passes_the_checks_of_people(
    check: PeopleCheck, store: SqlAlchemyStore
) -> None:
    await check(store)


@pytest.mark.parametrize("check", ERASURE_CHECKS, ids=lambda check: check.__name__)
async def test_sql_store_passes_the_erasure_checks(
    check: ErasureCheck, store: SqlAlchemyStore
) -> None:
    await check(store)
