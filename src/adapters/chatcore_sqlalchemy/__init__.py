"""chatcore's store on SQLite and PostgreSQL, through SQLAlchemy Core."""

from chatcore_sqlalchemy.engines import Engine, engine_of, sqlite_path
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.host_migration import migrate_on
from chatcore_sqlalchemy.schema import metadata
from chatcore_sqlalchemy.store import SqlAlchemyStore, migrate
from chatcore_sqlalchemy.upgrade import Migrated

__all__ = [
    "CannotOpen",
    "Engine",
    "Migrated",
    "SqlAlchemyStore",
    "engine_of",
    "metadata",
    "migrate",
    "migrate_on",
    "sqlite_path",
]
