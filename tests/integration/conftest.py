"""Fixtures that several folders share."""

import pytest

from tests.support.postgres_server import (
    empty_database,
    migrated_template,
    postgres,
    postgres_url,
)
from tests.support.soak import SOAK

__all__ = ["empty_database", "migrated_template", "postgres", "postgres_url"]


@pytest.fixture(scope="session")
def soak() -> bool:
    """Whether the long form was asked for: CHATCORE_SOAK=1."""
    return SOAK
