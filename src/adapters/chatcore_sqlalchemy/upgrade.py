"""Migrates a database to the schema of this version of chatcore."""

import contextlib
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    inspect,
    select,
)

from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.schema import IN_FILE, metadata, store

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""Revisions of the schema, oldest first; this version works on the last."""


def version_table(schema: str | None = None) -> Table:
    """The table that Alembic creates, in this schema of PostgreSQL or in a SQLite file."""
    return Table(
        "alembic_version",
        MetaData(schema=schema),
        Column("version_num", String(32), nullable=False),
        PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
    )


class NewerSchema(Exception):
    """The database was migrated by a later version of chatcore."""


class Migrated(NamedTuple):
    """The revision of a database before and after a migration."""

    before: str | None
    """None for an empty database."""
    after: str
    """The revision of this version; equal to `before` if nothing was migrated."""
    schema: str | None = None
    """The schema of PostgreSQL that holds the tables; None on SQLite."""
    moved_from: str | None = None
    """The schema from which the migration moved the tables; None if it did not."""


# Alembic's `context` and `op` are globals of the process.
_alembic = threading.Lock()


def look(connection: Connection, schema: str | None = None) -> Migrated:
    """Read the revision of the tables in this schema, and change nothing.

    Raises NewerSchema for a revision that this version does not know.
    """
    found, versions = [], version_table(schema)
    if inspect(connection).has_table(versions.name, schema=schema):
        found = [*connection.scalars(select(versions))]
    # Branched migrations leave several revisions, and this version has none.
    if len(found) > 1 or not {*found} <= {*REVISIONS}:
        raise NewerSchema
    return Migrated(found[0] if found else None, REVISIONS[-1], schema)


def expect_current(found: Migrated) -> None:
    """Raise CannotOpen unless the database is at the revision of this version."""
    if found.before != found.after:
        raise CannotOpen(
            f"the database is at revision {found.before}, not {found.after}: "
            "run `chatcore migrate` first"
        )


def upgrade(connection: Connection) -> None:
    """Run the missing migrations in the connection's transaction, on unqualified names."""
    # Imported here: it takes a fifth of a start, and most databases are up to date.
    from alembic import command
    from alembic.config import Config

    config = Config()
    # ConfigParser reads the value, and takes % for the start of an interpolation.
    folder = str(Path(__file__).with_name("migrations")).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.attributes["connection"] = connection
    with _alembic, _inside_another_migration():
        command.upgrade(config, "head")


@contextlib.contextmanager
def _inside_another_migration() -> Iterator[None]:
    """Keep the globals of Alembic for a migration of a host that is under way."""
    from alembic import context, op

    modules = (context, op)
    before = [dict(vars(module)) for module in modules]
    try:
        yield
    finally:
        for module, names in zip(modules, before, strict=True):
            vars(module).update(names)


def create(connection: Connection) -> None:
    """Create the tables in an empty SQLite database, as the migrations would."""
    connection = connection.execution_options(schema_translate_map=IN_FILE)
    metadata.create_all(connection, checkfirst=False)
    connection.execute(
        store.insert().values(id=1, log=secrets.token_hex(8), digest_secret=secrets.token_bytes(32))
    )
    versions = version_table()
    versions.create(connection)
    connection.execute(versions.insert().values(version_num=REVISIONS[-1]))
