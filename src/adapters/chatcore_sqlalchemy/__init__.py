"""chatcore's stores on SQL databases, through SQLAlchemy Core: SQLite and PostgreSQL."""

from chatcore_sqlalchemy.engines import Engine, engine_of, sqlite_path
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.store import SqlAlchemyStore, migrate
from chatcore_sqlalchemy.upgrade import Migrated

__all__ = [
    "CannotOpen",
    "Engine",
    "Migrated",
    "SqlAlchemyStore",
    "engine_of",
    "migrate",
    "sqlite_path",
]
