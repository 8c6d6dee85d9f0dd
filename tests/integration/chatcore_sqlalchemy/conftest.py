"""A store on each engine. The folder of a single engine overrides `url`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatcore.testing.scene import Scene, ann_and_bob
from chatcore_sqlalchemy import SqlAlchemyStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chatcore.db"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{path}"
    made: str = request.getfixturevalue("postgres_url")
    return made


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlAlchemyStore]:
    async with await SqlAlchemyStore.open(url) as store:
        yield store


@pytest.fixture
async def scene(store: SqlAlchemyStore) -> Scene:
    return await ann_and_bob(store)
