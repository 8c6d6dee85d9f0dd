"""Migrates the tables of chatcore inside the migrations of a host, in its PostgreSQL database."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from chatcore_sqlalchemy.database_url import expect_schema
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.schema import DEFAULT_SCHEMA
from chatcore_sqlalchemy.upgrade import Migrated


def migrate_on(connection: Connection, *, schema: str = DEFAULT_SCHEMA) -> Migrated:
    """Bring the tables in this schema to the schema of this version, in the transaction of a
    host's connection to PostgreSQL, such as `op.get_bind()` in a revision of its Alembic.

    Creates the schema if it is missing. Moves no tables of earlier versions. Raises CannotOpen,
    with one line that says why.
    """
    if connection is None or connection.dialect.name != "postgresql":
        raise CannotOpen(
            "chatcore's migrations run on a connection to PostgreSQL; on SQLite, chatcore has a "
            "file of its own, and there is no offline mode"
        )
    expect_schema(schema)
    # Imported on use: only PostgreSQL needs its driver.
    from chatcore_sqlalchemy.postgres.schema import migrate_here

    with _own_schemas(connection):
        return migrate_here(connection, schema)


@contextmanager
def _own_schemas(connection: Connection) -> Iterator[None]:
    """Set aside the host's `schema_translate_map`, which would lead chatcore's tables elsewhere."""
    # Options of a connection are set in place.
    former = connection.get_execution_options().get("schema_translate_map")
    connection.execution_options(schema_translate_map=None)
    try:
        yield
    finally:
        connection.execution_options(schema_translate_map=former)
