"""The store on PostgreSQL does what its model does, through overlapping and cancelled calls and
broken connections."""

import contextlib
from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import Phase

from tests.integration.chatcore_sqlalchemy.places import ON_POSTGRES, POSTGRES, Place
from tests.integration.durability.test_model import drive, report
from tests.integration.durability.witness import Store
from tests.support.figures import Figures
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres_proxy import COMMIT, POOLED_COMMIT, Fate, Proxy, proxy_to
from tests.support.postgres_server import PostgresServer
from tests.support.soak import long


class Postgres:
    persistent = True
    cuts = 0

    def __init__(
        self, server: PostgresServer, template: str, through: Callable[[str], Place]
    ) -> None:
        self._place = through(server.url(server.new_database(template)))
        self._proxy: Proxy
        self._resources: contextlib.AsyncExitStack

    async def open(self) -> Store:
        self._resources = contextlib.AsyncExitStack()
        proxied = proxy_to(self._place.url)
        self._proxy, url = await self._resources.enter_async_context(proxied)
        store = await self._place._replace(url=url).open()
        return await self._resources.enter_async_context(store)

    async def close(self) -> None:
        await self._resources.aclose()

    async def settled(self) -> None:
        pass

    @contextlib.contextmanager
    def failing(self, seed: int) -> Iterator[None]:
        random = Random(seed)
        proxy, cuts = self._proxy, self._proxy.cuts
        commit = COMMIT if self._place.pooler is None else POOLED_COMMIT

        def judge(message: bytes) -> Fate:
            # The fate of a COMMIT matters most.
            if random.random() < (0.5 if message.endswith(commit) else 0.03):
                return random.choice([Fate.IS_LOST, Fate.IS_NOT_ANSWERED])
            return Fate.PASSES

        proxy.judge = judge
        try:
            yield
        finally:
            proxy.judge = lambda _: Fate.PASSES
            type(self).cuts += proxy.cuts - cuts


@pytest.fixture(params=ON_POSTGRES)
def through(request: pytest.FixtureRequest) -> Callable[[str], Place]:
    """Makes the place of a database from its URL."""
    if request.param == POSTGRES:
        return Place
    pooler: PgBouncer = request.getfixturevalue("transaction_pooler")
    return lambda url: Place(pooler.url(url), "transaction")


@long
def test_postgresql_store_does_what_the_model_does(
    postgres: PostgresServer,
    migrated_template: str,
    through: Callable[[str], Place],
    soak: bool,
    figures: Figures,
) -> None:
    machine = drive(
        lambda: Postgres(postgres, migrated_template, through),
        100 if soak else 4,
        # Shrinking a failure would take many minutes.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )
    # The few short examples of the short run may draw no cut.
    assert Postgres.cuts or not soak
    report(machine, f"PostgreSQL with {Postgres.cuts} connections cut", figures)
