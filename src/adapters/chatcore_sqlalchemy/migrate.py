"""Brings a database to the schema that this version of chatcore works on."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection


class NewerSchema(Exception):
    """The database was migrated by a later version of chatcore."""


def revision_of(connection: Connection) -> str | None:
    """The revision that the database is at; None when it has no schema yet."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: Connection) -> None:
    """Migrate to the newest revision, in the transaction that the connection is in.

    Raises NewerSchema when the database is at a revision that is not known here.
    """
    config = Config()
    # ConfigParser reads the value, and to it a % begins an interpolation.
    folder = str(Path(__file__).with_name("migrations")).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.attributes["connection"] = connection
    current = revision_of(connection)
    if current is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(current)
        except CommandError as error:
            raise NewerSchema from error
    command.upgrade(config, "head")
