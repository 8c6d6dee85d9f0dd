"""Reads database URLs. The error for an invalid URL says what to write instead.

No message quotes a part that may hold a password.
"""

import re
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from chatcore_postgres import InvalidUrl, PostgresUrl, read_url
from chatcore_postgres.url import EXAMPLE
from chatcore_sqlalchemy.errors import CannotOpen

SQLITE = "sqlite:///chatcore.db"
POSTGRESQL = EXAMPLE

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")
_FILE = re.compile(r"[^:@?]+\.(db|sqlite|sqlite3)")
_WITHOUT_DRIVER = {
    "sqlite+aiosqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql+asyncpg": "postgresql",
    "postgres+asyncpg": "postgresql",
}
# What a misspelt URL of PostgreSQL has: a name of it or of its drivers, its port, a word of libpq,
# or a user before the host.
_LIKE_POSTGRESQL = re.compile(
    r"postgre|psql|pgsql|psycopg|asyncpg|:5432\b|\b(dbname|host|hostaddr|sslmode)\s*=|^[^/@]+@",
    re.IGNORECASE,
)
_OF_POSTGRESQL = {"postgresql", "postgres", "pgsql", "psql"}
_OF_SQLITE = {"sqlite", "sqlite3", "file"}


def backend_of(url: str) -> str:
    """The database that the scheme names: "sqlite" or "postgresql". Checks nothing after it.

    Raises CannotOpen for any other URL.
    """
    if url != url.strip():
        raise CannotOpen("the database URL begins or ends with white space: remove it")
    scheme, _, rest = url.partition(":")
    backend = scheme.lower().partition("+")[0]
    named = _SCHEME.fullmatch(scheme) and (rest or scheme != url)
    if not named:
        backend = scheme.lower().partition("/")[0]
    if backend in _OF_POSTGRESQL:
        return "postgresql"
    if backend in _OF_SQLITE:
        return "sqlite"
    is_file = _FILE.fullmatch(url) and url.isprintable()
    if _LIKE_POSTGRESQL.search(url) and not is_file:
        # Its own reader says what is wrong.
        return "postgresql"
    if not named:
        raise CannotOpen(
            f"not a database URL; expected sqlite:///{url if is_file else 'chatcore.db'} for a "
            f"file, or for a server {POSTGRESQL}"
        )
    of = f"{scheme}://" if rest.startswith("//") else "another database"
    raise CannotOpen(
        f"chatcore keeps its data in SQLite or PostgreSQL, and the database URL is of {of}; "
        f"expected {SQLITE} or {POSTGRESQL}"
    )


def without_driver(url: str) -> str:
    """The URL without the name of asyncpg or aiosqlite, which SQLAlchemy's spelling has."""
    scheme, colon, rest = url.partition(":")
    return f"{_WITHOUT_DRIVER.get(scheme, scheme)}{colon}{rest}"


def expect_schema(schema: str) -> None:
    """Raise CannotOpen unless PostgreSQL takes this as the name of a new schema."""
    if (
        not 0 < len(schema.encode(errors="replace")) < 64
        or not schema.isprintable()
        or '"' in schema
        or schema.startswith("pg_")
        or schema == "information_schema"
    ):
        raise CannotOpen(
            f"not a valid schema: {schema!r:.99}; expected up to 63 bytes that do not begin with "
            "pg_, for example chatcore"
        )


def read_postgresql(url: str, *, writes: bool = True) -> PostgresUrl:
    """Read a PostgreSQL URL. Raises CannotOpen for an invalid one, and with `writes` for one that
    asks for a server that takes none."""
    try:
        read = read_url(url)
        if writes:
            read.expect_writable()
    except InvalidUrl as error:
        raise CannotOpen(str(error)) from None
    return read


def sqlite_file(url: str) -> Path:
    """The file of a SQLite URL. Raises CannotOpen for an invalid URL."""
    scheme, _, rest = url.partition(":")
    path, parameters, _ = rest.partition("?")
    if not path.startswith("///") or scheme != "sqlite" or parameters:
        # Guess the intended path: after no or two slashes it is relative, after one absolute.
        path = path[3:] if path.startswith("///") else path.removeprefix("//")
        plain = path.isprintable() and "@" not in path and path not in {"", ":memory:"}
        example = f"write sqlite:///{path}" if plain else f"expected for example {SQLITE}"
        raise CannotOpen(
            f"a SQLite URL is sqlite:/// and the path of a file, with nothing after it: {example}"
        )
    try:
        database = make_url(url).database
    except (ArgumentError, ValueError):
        database = None
    if not database or database == ":memory:" or "\0" in database:
        raise CannotOpen(f"a SQLite URL names a file, as in {SQLITE}")
    return Path(database)
