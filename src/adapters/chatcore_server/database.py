"""The database that the settings name, apart from what serves it: a command that does not serve
starts twice as fast without."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chatcore_sqlalchemy
from chatcore_server.key_file import forget_key_of_missing
from chatcore_server.settings import CannotStart, Settings
from chatcore_sqlalchemy import CannotOpen, Migrated


async def migrate(settings: Settings) -> Migrated:
    """Bring the database to the schema of this version. Raises CannotStart."""
    if (file := database_file(settings)) is not None:
        forget_key_of_missing(file)
    with told_to_operator():
        return await chatcore_sqlalchemy.migrate(settings.database_url)


def database_file(settings: Settings) -> Path | None:
    """The SQLite file; None for another database. Raises CannotStart."""
    with told_to_operator():
        return chatcore_sqlalchemy.sqlite_path(settings.database_url)


@contextmanager
def told_to_operator() -> Iterator[None]:
    """Turns CannotOpen into CannotStart."""
    try:
        yield
    except CannotOpen as error:
        raise CannotStart(str(error)) from error
