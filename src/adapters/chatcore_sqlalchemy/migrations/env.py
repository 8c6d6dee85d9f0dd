"""Alembic runs this for every command, on the connection and transaction of `upgrade`."""

from alembic import context

from chatcore_sqlalchemy.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite's DDL is transactional, but Alembic assumes it is not.
    transactional_ddl=True,
)
context.run_migrations()
