"""chatcore's stores on SQL databases, through SQLAlchemy Core: SQLite and PostgreSQL."""

from chatcore_sqlalchemy.database_url import sqlite_path
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.store import SqlAlchemyStore, migrate
from chatcore_sqlalchemy.upgrade import Migrated

__all__ = ["CannotOpen", "Migrated", "SqlAlchemyStore", "migrate", "sqlite_path"]
