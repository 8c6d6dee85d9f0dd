"""What tests of several folders share."""

from tests.support.postgres_server import (
    empty_database,
    migrated_template,
    postgres,
    postgres_url,
)

__all__ = ["empty_database", "migrated_template", "postgres", "postgres_url"]
