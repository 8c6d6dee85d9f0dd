"""Run by Alembic for every command; the connection and its transaction come from outside."""

from alembic import context

from chatcore_sqlalchemy.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite's DDL is transactional, but Alembic does not believe so.
    transactional_ddl=True,
)
context.run_migrations()
