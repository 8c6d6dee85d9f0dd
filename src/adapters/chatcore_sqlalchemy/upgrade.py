"""Brings a database to the schema that this version of chatcore works on."""

import threading
from pathlib import Path
from typing import NamedTuple

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection


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
    """What `upgrade` would do.

    Raises NewerSchema when the database is at a revision that is not known here.
    """
    scripts = ScriptDirectory.from_config(_config())
    [after] = scripts.get_heads()
    try:
        before = MigrationContext.configure(connection).get_current_revision()
        if before is not None:
            scripts.get_revision(before)
    except CommandError as error:
        raise NewerSchema from error
    return Migrated(before, after)


def upgrade(connection: Connection) -> Migrated:
    """Migrate to the newest revision, in the transaction that the connection is in. Raises
    NewerSchema, as `look` does."""
    found = look(connection)
    if found.before != found.after:
        config = _config()
        config.attributes["connection"] = connection
        with _alembic:
            command.upgrade(config, "head")
    return found


def _config() -> Config:
    config = Config()
    # ConfigParser reads the value, and to it a % begins an interpolation.
    folder = str(Path(__file__).with_name("migrations")).replace("%", "%%")
    config.set_main_option("script_location", folder)
    return config
