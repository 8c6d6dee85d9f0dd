"""Reads database URLs. The error for an invalid URL says what to write instead.

No message quotes a part that may hold a password.
"""

import re
from pathlib import Path
from urllib.parse import parse_qsl

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from chatcore_sqlalchemy.errors import CannotOpen

SQLITE = "sqlite:///chatcore.db"
POSTGRESQL = "postgresql://user:password@host/database"

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")
_FILE = re.compile(r"[^:@?]+\.(db|sqlite|sqlite3)")
_HOST = re.compile(r"(\[[^][]*\]|[^][:]*)(:(?P<port>.*))?")
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
    if not _SCHEME.fullmatch(scheme) or (not rest and scheme == url):
        backend = scheme.lower().partition("/")[0]
        if backend not in _OF_POSTGRESQL | _OF_SQLITE:
            file = url if _FILE.fullmatch(url) and url.isprintable() else "chatcore.db"
            raise CannotOpen(
                f"not a database URL; expected sqlite:///{file} for a file, or for a server "
                f"{POSTGRESQL}"
            )
    if backend in _OF_POSTGRESQL:
        return "postgresql"
    if backend in _OF_SQLITE:
        return "sqlite"
    of = f"{scheme}://" if rest.startswith("//") else "another database"
    raise CannotOpen(
        f"chatcore keeps its data in SQLite or PostgreSQL, and the database URL is of {of}; "
        f"expected {SQLITE} or {POSTGRESQL}"
    )


def without_driver(url: str) -> str:
    """The URL as chatcore's own drivers read it: SQLAlchemy's spelling names asyncpg or aiosqlite,
    and says `ssl` for `sslmode`."""
    scheme, _, rest = url.partition(":")
    if scheme in {"sqlite+aiosqlite", "sqlite+pysqlite"}:
        return f"sqlite:{rest}"
    if scheme not in {"postgresql+asyncpg", "postgres+asyncpg"}:
        return url
    path, mark, query = rest.partition("?")
    parameters = (
        re.sub("^ssl=", "sslmode=", parameter)
        for parameter in query.split("&")
        if not parameter.startswith("prepared_statement_")
    )
    return f"postgresql:{path}{mark}{'&'.join(parameters)}"


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


def names_host(url: str) -> bool:
    """Whether a PostgreSQL URL names a host."""
    authority, _, query = url.partition("//")[2].partition("?")
    host = authority.partition("/")[0].rpartition("@")[2]
    return bool(host) or "host" in dict(parse_qsl(query))


def expect_postgresql(url: str) -> None:
    """Raise CannotOpen if the scheme, host or port of a PostgreSQL URL is invalid."""
    scheme, _, rest = url.partition(":")
    # libpq also accepts the short form.
    if scheme not in {"postgresql", "postgres"} and _SCHEME.fullmatch(scheme):
        raise CannotOpen(
            f"a PostgreSQL URL begins with postgresql:// or postgresql+asyncpg://, not with "
            f"{scheme}: write postgresql:// for it and leave the rest, as in {POSTGRESQL}"
        )
    if not rest.startswith("//"):
        raise CannotOpen(f"a PostgreSQL URL begins with postgresql://, as in {POSTGRESQL}")
    authority, tail = re.fullmatch(r"//([^/?#]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    found = [_HOST.fullmatch(host) for host in authority.rpartition("@")[2].split(",")]
    ports = [host["port"] for host in found if host is not None and host["port"]]
    wrong_port = not all(
        port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536 for port in ports
    )
    if "@" not in authority and "@" in (tail if wrong_port else tail.partition("?")[0]):
        raise CannotOpen(
            "the user or the password in the PostgreSQL URL has a character that must be "
            "%-escaped there (/ as %2F, ? as %3F, # as %23, @ as %40), as in "
            "postgresql://user:pass%2Fword@host/database"
        )
    if None in found:
        raise CannotOpen(
            "the host in the PostgreSQL URL cannot be read; an IPv6 address stands in brackets, as "
            "in postgresql://user:password@[::1]:5432/database"
        )
    if wrong_port:
        raise CannotOpen(
            "the port in the PostgreSQL URL is not a number from 1 to 65535; expected for example "
            "postgresql://user:password@host:5432/database"
        )


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
