"""One connection to a PostgreSQL server: by which URL, and within which limits."""

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
"""Then a statement is planned anew: the tables of a new database grow fast, and the plan for an
empty one may go by the wrong index."""

STATEMENT_SECONDS = 5
LOCK_SECONDS = 3
IDLE_IN_TRANSACTION_SECONDS = 5
"""Each ended by the server. The last one frees what a process that froze, or whose machine is
gone, has locked."""

ANSWER_SECONDS = 7.0
"""How long to wait for a server that does not even end a statement."""

SESSION = {
    "application_name": "chatcore",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS}s",
    # Whatever the server's default is: a statement after a wait for locks must see what those
    # who held them have written.
    "default_transaction_isolation": "read committed",
    # Every statement finds its few rows by an index, whoever asks and however many there are, so
    # it is planned once; and never for tables as small as they were then, to read all of which
    # would have been as cheap.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}

# What is acknowledged must survive a crash. The other settings below `on` are about replicas.
_DURABLE = """
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') = 'off'
"""

# What PgBouncer does not hand on, and what it hands on to the session of somebody else.
_OF_POOLER = re.compile(
    "unsupported startup parameter|prepared statement .* (already exists|does not exist)"
)

FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""What asyncpg raises when the database fails, or cannot be reached in time."""


class Connection(Protocol):
    """What is used of asyncpg's."""

    async def execute(self, sql: str, /) -> str: ...

    async def fetch(self, sql: str, /, *values: Any) -> "list[Row]": ...

    def is_closed(self) -> bool: ...

    def is_in_transaction(self) -> bool: ...

    async def close(self, *, timeout: float) -> None:  # noqa: ASYNC109 (it is asyncpg's)
        ...

    def terminate(self) -> None: ...


Row = Sequence[Any]


async def connect(url: str, *, limited: bool = True) -> Connection:
    """A new connection to the database that a `postgresql://…` URL names.

    What the URL says of the session goes before `SESSION`; without `limited`, nothing ends a
    statement that takes its time. Raises one of FAILURES, or CannotOpen for what is no URL.
    """
    session = SESSION if limited else {"application_name": SESSION["application_name"]}
    try:
        told = dict(parse_qsl(urlsplit(url).query))
        connection: Connection = await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=ANSWER_SECONDS if limited else None,
            max_cached_statement_lifetime=PLAN_SECONDS,
            server_settings={key: value for key, value in session.items() if key not in told},
        )
    except ssl.SSLError:
        # One that is about a certificate is a ValueError as well.
        raise
    except (ValueError, asyncpg.ClientConfigurationError):
        # Not quoted, nor the reason, which quotes it: it may hold a password.
        raise CannotOpen(
            f"not a valid PostgreSQL URL; expected for example {POSTGRESQL}, with %-escapes, or "
            "postgresql://user@/database?host=/folder/of/the/socket"
        ) from None
    try:
        await connection.execute(_DURABLE)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def expect_writable(connection: Connection) -> None:
    """Raises StoreUnavailable where every write fails: on a standby, and where the database's
    or the role's settings say so."""
    ((read_only,),) = await connection.fetch("SELECT current_setting('transaction_read_only')")
    if read_only == "on":
        # A session keeps the setting that it began with.
        connection.terminate()
        raise StoreUnavailable("the database is read-only")


def ends_connection(failure: BaseException) -> bool:
    """Whether the server goes on to close the connection."""
    if isinstance(failure, asyncpg.PostgresError):
        return getattr(failure, "severity_en", None) in {"FATAL", "PANIC"}
    # asyncpg when the server said goodbye to a connection that was idle, before it is closed.
    return isinstance(failure, asyncpg.InternalClientError)


def cannot_open(url: str, failure: BaseException) -> CannotOpen:
    """What to tell an operator of why the database of the URL cannot be used."""
    hint = ""
    if _OF_POOLER.search(str(failure)):
        hint = (
            "; a pooler such as PgBouncer is in between: name the PostgreSQL server itself in the "
            "URL, or see what poolers need in docs/scaling.md"
        )
    elif not names_host(url):
        hint = f"; the URL names no host, as {POSTGRESQL} does"
    return CannotOpen(f"cannot open the database: {in_one_line(failure)}{hint}")


def in_one_line(failure: BaseException) -> str:
    """Why a connection failed. The server's words, and asyncpg's, hold no password."""
    if isinstance(failure, TimeoutError) and not str(failure):
        return f"no answer within {CONNECT_SECONDS:g} seconds"
    if isinstance(failure, ConnectionRefusedError):
        # Event loops have words of their own for it.
        return "the connection was refused: no server listens there"
    return " ".join(str(without_data(failure)).split()) or type(failure).__name__


def without_data(failure: BaseException) -> BaseException:
    """The failure, without the rows that the server shows in its details: they are for nobody's
    log."""
    if isinstance(failure, asyncpg.PostgresError):
        failure.detail = None
    return failure
