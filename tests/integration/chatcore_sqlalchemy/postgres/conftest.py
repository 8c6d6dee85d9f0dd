"""The stores of these tests are on PostgreSQL."""

import pytest


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url
