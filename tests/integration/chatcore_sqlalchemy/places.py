"""The databases on which the tests open a store."""

from typing import Any, NamedTuple

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.postgres.pooler import Pooler
from tests.support.host import async_url
from tests.support.soak import soak_only

SQLITE = "sqlite"
POSTGRES = "postgres"
POOLED = "postgres-pooled"

ALL = (SQLITE, POSTGRES)
ON_POSTGRES = (POSTGRES, pytest.param(POOLED, marks=soak_only))


class Place(NamedTuple):
    """A database, and how a store reaches it."""

    url: str
    pooler: Pooler | None = None

    async def open(self, query: str = "") -> SqlAlchemyStore:
        """Open a store. `query` is added to the URL."""
        return await SqlAlchemyStore.open(f"{self.url}{query}", pooler=self.pooler)

    def engine(self, **options: Any) -> AsyncEngine:
        """An engine of a host, on the same way to PostgreSQL."""
        if self.pooler is not None:
            options["connect_args"] = {"statement_cache_size": 0}
            options["isolation_level"] = "READ COMMITTED"
        return create_async_engine(async_url(self.url), **options)


def place_of(request: pytest.FixtureRequest) -> Place:
    """The place of one of the names, as the parameter of a fixture."""
    if request.param == SQLITE:
        return Place(f"sqlite:///{request.getfixturevalue('path')}")
    direct = request.getfixturevalue("postgres_url")
    if request.param == POSTGRES:
        return Place(direct)
    return Place(request.getfixturevalue("transaction_pooler").url(direct), "transaction")
