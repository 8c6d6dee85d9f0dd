"""The database of a host, for `chatcore drain`."""

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from chatcore_sqlalchemy.database_url import expect_postgresql, sqlite_file
from chatcore_sqlalchemy.errors import CannotOpen

PING = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 0}
"""One connection, replaced if the server has closed it."""


def engine_of_host(url: str) -> Engine | AsyncEngine:
    """The engine of a host's database: `sqlite:///…` and `postgresql://…` as chatcore's own, or any
    other URL of SQLAlchemy, whose driver must be installed.

    Opens nothing. Raises CannotOpen, with one line that says what to write or to install.
    """
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        file = sqlite_file(url)
        if not file.exists():
            raise CannotOpen(f"there is no database {file}")
        return create_engine(url)
    try:
        if scheme in {"postgresql", "postgres"}:
            expect_postgresql(url)
            from chatcore_sqlalchemy.postgres.connection import connect

            return create_async_engine(
                "postgresql+asyncpg://",
                async_creator=lambda: connect(url, limited=False),
                **PING,
            )
        parsed = make_url(url)
        if parsed.get_dialect().is_async:
            return create_async_engine(parsed, pool_pre_ping=True)
        return create_engine(parsed, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise CannotOpen(
            f"the outbox's database needs the Python module {error.name}, which is not installed"
        ) from error
    except NoSuchModuleError:
        raise CannotOpen(f"SQLAlchemy knows no database {scheme}://") from None
    except (ArgumentError, ValueError):
        # The reason may quote the URL, which may hold a password.
        raise CannotOpen(
            "the URL of the outbox's database is not valid; expected for example "
            "sqlite:///shop.db, postgresql://user:password@host/shop or "
            "mysql+pymysql://user:password@host/shop"
        ) from None
