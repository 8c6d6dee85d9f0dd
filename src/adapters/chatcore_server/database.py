"""The database that the settings name. It imports nothing that only `serve` needs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import chatcore_sqlalchemy
from chatcore_server.key_file import forget_key_of_missing
from chatcore_server.settings import CannotStart, Settings
from chatcore_sqlalchemy import CannotOpen, Engine, Migrated, SqlAlchemyStore, engine_of
from chatcore_sqlalchemy.engines import Adoption


async def migrate(settings: Settings) -> Migrated:
    """Bring the database to the schema of this version. Raises CannotStart."""
    if (file := database_file(settings)) is not None:
        forget_key_of_missing(file)
    with as_cannot_start():
        return await chatcore_sqlalchemy.migrate(
            settings.database_url, schema=settings.schema, pooler=settings.pooler
        )


async def open_store(settings: Settings, *, writable: bool = False) -> SqlAlchemyStore:
    """Open the store, as `SqlAlchemyStore.open` does. Raises CannotStart."""
    with as_cannot_start():
        return await SqlAlchemyStore.open(
            settings.database_url,
            schema=settings.schema,
            pooler=settings.pooler,
            writable=writable,
        )


async def adopt(settings: Settings, confirm: Callable[[Adoption], bool]) -> Adoption | None:
    """Accept the present server, if `confirm` returns True, as `Engine.adopt` does. Raises
    CannotStart."""
    with as_cannot_start():
        return await engine(settings).adopt(confirm)


def database_file(settings: Settings) -> Path | None:
    """The path of the SQLite file; None for another database. Raises CannotStart."""
    return engine(settings).file


def engine(settings: Settings) -> Engine:
    """The engine of the database. Raises CannotStart."""
    with as_cannot_start():
        return engine_of(settings.database_url, settings.schema, settings.pooler)


def expect_several_processes(settings: Settings) -> None:
    """Raise CannotStart unless several processes may use the database."""
    if not engine(settings).several_processes:
        raise CannotStart(
            f"{settings.workers} workers need PostgreSQL: one process at a time uses a SQLite file"
        )


@contextmanager
def as_cannot_start() -> Iterator[None]:
    """Raise CannotStart in place of CannotOpen."""
    try:
        yield
    except CannotOpen as error:
        raise CannotStart(str(error)) from error
