"""A store on each engine. The folder of a single engine overrides `place`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatcore.testing.scene import Scene, ann_and_bob
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.chatcore_sqlalchemy.places import ALL, Place, place_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chatcore.db"


@pytest.fixture(params=ALL)
def place(request: pytest.FixtureRequest) -> Place:
    return place_of(request)


@pytest.fixture
def url(place: Place) -> str:
    return place.url


@pytest.fixture
async def store(place: Place) -> AsyncIterator[SqlAlchemyStore]:
    async with await place.open() as store:
        yield store


@pytest.fixture
async def scene(store: SqlAlchemyStore) -> Scene:
    return await ann_and_bob(store)
