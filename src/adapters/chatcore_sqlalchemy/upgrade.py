"""Brings a database to the schema that this version of chatcore works on."""

import secrets
import threading
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
from chatcore_sqlalchemy.schema import metadata, store

REVISIONS = ("0001", "0002", "0003")
"""Of the schema, in order; the last one is what this version works on."""

# As Alembic makes it.
_versions = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


class NewerSchema(Exception):
    """The database was migrated by a later version of chatcore."""


class Migrated(NamedTuple):
    """What a migration did."""

    before: str | None
    """The revision of the schema that was found; None when there was none."""
    after: str
    """The revision of this version; the same as before when there was nothing to do."""


# Alembic's `context` and `op` are globals of the process.
_alembic = threading.Lock()


def look(connection: Connection) -> Migrated:
    """Which revision the database is at, and which one it should be at.

    Raises NewerSchema when the database is at a revision that is not known here.
    """
    found = []
    if inspect(connection).has_table(_versions.name):
        found = [*connection.scalars(select(_versions))]
    # Branches of migrations leave several revisions, and this version has no branches.
    if len(found) > 1 or not {*found} <= {*REVISIONS}:
        raise NewerSchema
    return Migrated(found[0] if found else None, REVISIONS[-1])


def expect_current(connection: Connection) -> None:
    """Raise CannotOpen unless the database is at the revision of this version."""
    try:
        found = look(connection)
    except NewerSchema:
        raise CannotOpen("the database is of a newer chatcore") from None
    if found.before != found.after:
        raise CannotOpen(
            f"the database is at revision {found.before}, not {found.after}: "
            "run `chatcore migrate` first"
        )


def upgrade(connection: Connection) -> None:
    """Run the migrations that the database lacks, in the connection's transaction."""
    # Imported here: it takes a fifth of a start, and most databases lack no migration.
    from alembic import command
    from alembic.config import Config

    config = Config()
    # ConfigParser reads the value, and to it a % begins an interpolation.
    folder = str(Path(__file__).with_name("migrations")).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.attributes["connection"] = connection
    with _alembic:
        command.upgrade(config, "head")


def create(connection: Connection) -> None:
    """Make the tables that the migrations lead to, in a database that has none."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(store.insert().values(id=1, log=secrets.token_hex(8)))
    _versions.create(connection)
    connection.execute(_versions.insert().values(version_num=REVISIONS[-1]))
