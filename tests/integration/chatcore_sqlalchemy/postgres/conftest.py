"""The stores of these tests are on PostgreSQL, some also through a pooler in transaction mode."""

import pytest

from tests.integration.chatcore_sqlalchemy.places import ON_POSTGRES, Place, place_of


@pytest.fixture(params=ON_POSTGRES)
def place(request: pytest.FixtureRequest) -> Place:
    return place_of(request)
