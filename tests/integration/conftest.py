"""Fixtures that several folders share."""

import pytest

from tests.support.pgbouncer import transaction_pooler
from tests.support.postgres_server import (
    empty_database,
    migrated_template,
    postgres,
    postgres_url,
)
from tests.support.soak import SOAK

__all__ = ["empty_database", "migrated_template", "postgres", "postgres_url", "transaction_pooler"]

# Explain the failed assertions of helpers, too. Several folders import them, so this comes first.
pytest.register_assert_rewrite(
    "tests.integration.durability.crowd", "tests.integration.durability.load"
)


@pytest.fixture(scope="session")
def soak() -> bool:
    """Whether the long form runs: CHATCORE_SOAK=1."""
    return SOAK
