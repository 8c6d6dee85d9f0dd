"""What tests of several folders share."""

from tests.integration.postgres.server import empty_database, postgres

__all__ = ["empty_database", "postgres"]
