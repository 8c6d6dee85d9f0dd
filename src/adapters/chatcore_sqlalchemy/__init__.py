"""chatcore's stores on SQL databases, through SQLAlchemy Core. Today: SQLite."""

from chatcore_sqlalchemy.sqlite import CannotOpen, sqlite_path
from chatcore_sqlalchemy.store import SqlAlchemyStore

__all__ = ["CannotOpen", "SqlAlchemyStore", "sqlite_path"]
