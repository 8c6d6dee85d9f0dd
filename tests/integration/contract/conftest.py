"""The service under test: started here, or the one that `CHATCORE_TEST_URL=http://host:port`
names."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.api import GIVEN_URL, Api, api_at, api_of
from tests.support.apps import KINDS, SECRET, Store, app_on, store_of_kind
from tests.support.postgres_server import PostgresServer
from tests.support.service import QuickService, Service

# Explain its failed assertions.
pytest.register_assert_rewrite("tests.support.transcript")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a database and a process that tests can inspect."""
    if GIVEN_URL:
        pytest.skip("needs a service of its own")
    folder = tmp_path_factory.mktemp("service")
    # Tests that guess passwords can use addresses of their own (`api.some_address`).
    with QuickService(folder, secret=SECRET, trusted_proxies="127.0.0.1") as service:
        yield service


@pytest.fixture(scope="session")
def url(request: pytest.FixtureRequest) -> str:
    if GIVEN_URL:
        return GIVEN_URL.rstrip("/")
    started: Service = request.getfixturevalue("service")
    return started.url


@pytest.fixture
async def api(url: str) -> AsyncIterator[Api]:
    async with api_at(url) as api:
        yield api


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """An argument of `store_of_kind`: a test with this fixture runs on each kind."""
    if request.param != "postgres":
        yield request.param
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    database = server.new_database(request.getfixturevalue("migrated_template"))
    yield server.url(database)
    server.drop_database(database)


@pytest.fixture(scope="module")
async def store(kind: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Store]:
    async with store_of_kind(kind, tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture(scope="module")
async def in_process(store: Store) -> AsyncIterator[Api]:
    """One application for the tests of a module; each test registers its own users."""
    async with app_on(store) as app, api_of(app) as api:
        yield api
