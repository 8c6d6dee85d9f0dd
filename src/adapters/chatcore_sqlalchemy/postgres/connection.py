"""One connection to a PostgreSQL server: its settings, its time limits, its failures."""

import re
import ssl
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import asyncpg

from chatcore.errors import StoreUnavailable
from chatcore_sqlalchemy.database_url import POSTGRESQL, names_host
from chatcore_sqlalchemy.errors import CannotOpen

CONNECT_SECONDS = 5.0

PLAN_SECONDS = 10
"""How long a prepared statement, and so its plan, is kept. The tables of a new database grow fast,
and a plan made for empty ones may use the wrong index."""

STATEMENT_SECONDS = 5
LOCK_SECONDS = 3
IDLE_IN_TRANSACTION_SECONDS = 5
"""Limits that the server itself enforces. The last one frees the locks of a process that froze,
or whose machine failed."""

ANSWER_SECONDS = 7.0
"""How long to wait for a server that does not even enforce its own limits."""

SESSION = {
    "application_name": "chatcore",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS}s",
    # Not the server's default: a statement after a wait for locks must see what the holders of
    # those locks wrote.
    "default_transaction_isolation": "read committed",
    # Every statement finds its few rows by an index for any values, so one plan serves all;
    # and that plan must not scan, even if the tables were small when it was made.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}

# An acknowledged write must survive a crash. The other settings below `on` concern replicas.
_DURABLE = """
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') = 'off'
"""

# Errors behind PgBouncer: a parameter that it rejects, and statements prepared in another session.
_OF_POOLER = re.compile(
    "unsupported startup parameter|prepared statement .* (already exists|does not exist)"
)

FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""The exceptions of asyncpg for a database that fails, or cannot be reached in time."""


class Connection(Protocol):
    """The methods of asyncpg's connection that the store uses."""

    async def execute(self, sql: str, /) -> str: ...

    async def fetch(self, sql: str, /, *values: Any) -> "list[Row]": ...

    def is_closed(self) -> bool: ...

    def is_in_transaction(self) -> bool: ...

    async def close(self, *, timeout: float) -> None:  # noqa: ASYNC109 (it is asyncpg's)
        ...

    def terminate(self) -> None: ...


Row = Sequence[Any]


class Source(Protocol):
    """Connects to one database. The methods raise one of FAILURES, or CannotOpen."""

    async def connect(self) -> Connection:
        """Connect for the store, with the settings of SESSION and its time limits."""
        ...

    async def raw(self, *, limited: bool) -> Any:
        """Connect as asyncpg does; without `limited`, a statement may take any time."""
        ...

    def cannot_open(self, failure: BaseException) -> CannotOpen:
        """Say in one line why the database cannot be used."""
        ...


class UrlSource:
    """Connects to the database of a `postgresql://…` URL."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def connect(self) -> Connection:
        return await connect(self._url)

    async def raw(self, *, limited: bool) -> Any:
        return await connect(self._url, limited=limited)

    def cannot_open(self, failure: BaseException) -> CannotOpen:
        return cannot_open(failure, names_host=names_host(self._url))


async def connect(url: str, *, limited: bool = True) -> Connection:
    """Connect to the database of a `postgresql://…` URL.

    Session settings in the URL take precedence over `SESSION`; without `limited`, a statement may
    take any time. Raises one of FAILURES, or CannotOpen for an invalid URL.
    """
    session = SESSION if limited else {"application_name": SESSION["application_name"]}
    try:
        in_url = dict(parse_qsl(urlsplit(url).query))
        connection: Connection = await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=ANSWER_SECONDS if limited else None,
            max_cached_statement_lifetime=PLAN_SECONDS,
            server_settings={key: value for key, value in session.items() if key not in in_url},
        )
    except ssl.SSLError:
        # A certificate error is a ValueError too.
        raise
    except (ValueError, asyncpg.ClientConfigurationError):
        # Quote neither the URL nor the reason, which quotes it: it may hold a password.
        raise CannotOpen(
            f"not a valid PostgreSQL URL; expected for example {POSTGRESQL}, with %-escapes, or "
            "postgresql://user@/database?host=/folder/of/the/socket"
        ) from None
    await make_durable(connection)
    return connection


async def make_durable(connection: Connection) -> None:
    """Let the session wait for the disk at each commit. Ends the connection when it fails."""
    try:
        await connection.execute(_DURABLE)
    except BaseException:
        connection.terminate()
        raise


async def expect_writable(connection: Connection) -> None:
    """Raise StoreUnavailable if every write would fail: on a standby, or by a setting of the
    database or the role."""
    ((read_only,),) = await connection.fetch("SELECT current_setting('transaction_read_only')")
    if read_only == "on":
        # A session keeps its first value of the setting, so the next check needs a new one.
        connection.terminate()
        raise StoreUnavailable("the database is read-only")


def ends_connection(failure: BaseException) -> bool:
    """Whether the server closes the connection after this failure."""
    if isinstance(failure, asyncpg.PostgresError):
        return getattr(failure, "severity_en", None) in {"FATAL", "PANIC"}
    # asyncpg raises it when the server has ended an idle connection that is not yet closed.
    return isinstance(failure, asyncpg.InternalClientError)


def cannot_open(failure: BaseException, *, names_host: bool) -> CannotOpen:
    """Say in one line why the database cannot be used, with a hint if there is one."""
    hint = ""
    if _OF_POOLER.search(str(failure)):
        hint = (
            "; a pooler such as PgBouncer is in between: name the PostgreSQL server itself in the "
            "URL, or see what poolers need in docs/scaling.md"
        )
    elif not names_host:
        hint = f"; the URL names no host, as {POSTGRESQL} does"
    return CannotOpen(f"cannot open the database: {in_one_line(failure)}{hint}")


def in_one_line(failure: BaseException) -> str:
    """Why a connection failed. The messages of the server and of asyncpg hold no password."""
    if isinstance(failure, TimeoutError) and not str(failure):
        return f"no answer within {CONNECT_SECONDS:g} seconds"
    if isinstance(failure, ConnectionRefusedError):
        # Event loops word it differently.
        return "the connection was refused: no server listens there"
    return " ".join(str(without_data(failure)).split()) or type(failure).__name__


def without_data(failure: BaseException) -> BaseException:
    """The failure without its detail, where the server quotes rows: they belong in no log."""
    if isinstance(failure, asyncpg.PostgresError):
        failure.detail = None
    return failure
