"""One connection to a PostgreSQL server: its time limits and its failures."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import asyncpg

from chatcore.errors import StoreUnavailable
from chatcore_postgres import InvalidUrl, failures
from chatcore_postgres.failures import FAILURES as FAILURES
from chatcore_postgres.failures import without_data as without_data
from chatcore_postgres.parameters import KNOWN, overridden
from chatcore_postgres.servers import Servers
from chatcore_sqlalchemy.database_url import POSTGRESQL, read_postgresql
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.pooler import PooledConnection, Pooler, expect_own_session
from chatcore_sqlalchemy.postgres.session import (
    APPLICATION_NAME,
    begin_with,
    set_up,
    settings_for,
    split,
)

PLAN_SECONDS = 10
"""How long a prepared statement, and so its plan, is kept. The tables of a new database grow fast,
and a plan made for empty ones may use the wrong index."""

ANSWER_SECONDS = 7.0
"""How long to wait for a server that does not even enforce its own limits."""

# Errors behind PgBouncer: a parameter that it rejects, and statements prepared in another session.
_OF_POOLER = re.compile(
    "unsupported startup parameter|prepared statement (.* )?(already exists|does not exist)"
)


# A misspelt parameter of libpq goes to the server as a setting.
_UNKNOWN_PARAMETER = re.compile('unrecognized configuration parameter "([^"]*)"')


class Connection(Protocol):
    """The methods of asyncpg's connection that the store uses."""

    async def execute(self, sql: str, /) -> str: ...

    async def fetch(self, sql: str, /, *values: Any) -> "list[Row]": ...

    def get_settings(self) -> Any: ...

    def is_closed(self) -> bool: ...

    def is_in_transaction(self) -> bool: ...

    async def close(self, *, timeout: float) -> None:  # noqa: ASYNC109 (it is asyncpg's)
        ...

    def terminate(self) -> None: ...

    def add_termination_listener(self, callback: Callable[[Any], None]) -> None:
        """Call the callback when the connection ends, for any reason."""
        ...


Row = Sequence[Any]


class Source(Protocol):
    """Connects to one database. The methods raise one of FAILURES, or CannotOpen."""

    async def connect(self) -> Connection:
        """Connect for the store, with the settings of its sessions and its time limits."""
        ...

    async def raw(self, *, limited: bool) -> Any:
        """Connect as asyncpg does; without `limited`, a statement may take any time."""
        ...

    def avoid(self, connection: Connection) -> None:
        """Prefer other servers, if there are any, to that of a connection of `connect`."""
        ...

    def cannot_open(self, failure: BaseException) -> CannotOpen:
        """Say in one line why the database cannot be used."""
        ...


class UrlSource:
    """Connects to a server of a `postgresql://…` URL, the one that was good last first; with
    `pooler`, through a pooler in that mode.

    Without `writes`, the URL may ask for a server that takes none. Settings of the URL take
    precedence over chatcore's own. Raises CannotOpen for an invalid URL.
    """

    def __init__(self, url: str, pooler: Pooler | None = None, *, writes: bool = True) -> None:
        read = read_postgresql(url, writes=writes)
        self._names_host = read.names_host
        self._pooler = pooler
        at_start, self._given = split(read.settings)
        self._overridden = overridden(at_start)
        try:
            self._servers = Servers(replace(read, settings=at_start))
        except InvalidUrl as error:
            raise CannotOpen(str(error)) from None

    async def connect(self) -> Connection:
        connection: Connection = await self._open(limited=True)
        await self._set_up(connection, limited=True)
        return connection

    async def raw(self, *, limited: bool) -> Any:
        connection = await self._open(limited=limited)
        if self._pooler is None:
            try:
                await expect_own_session(connection, partial(self._open, limited=True))
            except BaseException:
                connection.terminate()
                raise
        await self._set_up(connection, limited=limited)
        return connection

    async def _open(self, *, limited: bool) -> Any:
        options: dict[str, Any] = {"max_cached_statement_lifetime": PLAN_SECONDS}
        if self._pooler is not None:
            options = {"statement_cache_size": 0, "connection_class": PooledConnection}
        return await self._servers.connect(
            {"application_name": APPLICATION_NAME},
            command_timeout=ANSWER_SECONDS if limited else None,
            **options,
        )

    async def _set_up(self, connection: Any, *, limited: bool) -> None:
        version = connection.get_server_version().major
        settings = settings_for(limited=limited, given=self._given, version=version)
        settings = {name: settings[name] for name in settings if name not in self._overridden}
        if self._pooler is None:
            await set_up(connection, settings, seconds=ANSWER_SECONDS)
        else:
            connection.begin = begin_with(settings)

    def avoid(self, connection: Connection) -> None:
        self._servers.avoid(connection)

    def cannot_open(self, failure: BaseException) -> CannotOpen:
        return cannot_open(failure, names_host=self._names_host)


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


def finds_no_room(failure: BaseException | None) -> bool:
    """Whether the server refused a connection for having too many: in all, of the role, or of the
    database."""
    while failure is not None:
        if isinstance(failure, asyncpg.TooManyConnectionsError):
            return True
        failure = failure.__cause__
    return False


def cannot_open(failure: BaseException, *, names_host: bool) -> CannotOpen:
    """Say in one line why the database cannot be used, with a hint if there is one."""
    hint = ""
    if _OF_POOLER.search(str(failure)):
        # The reason says what to do.
        pass
    elif unknown := _UNKNOWN_PARAMETER.search(str(failure)):
        close = difflib.get_close_matches(unknown[1], KNOWN, n=1, cutoff=0.8)
        hint = "".join(f"; did you mean {guess}?" for guess in close)
    elif not names_host:
        hint = f"; the URL names no host, as {POSTGRESQL} does"
    return CannotOpen(f"cannot open the database: {in_one_line(failure)}{hint}")


def in_one_line(failure: BaseException) -> str:
    """Why a connection or a statement failed. The messages of the server and of asyncpg hold no
    password."""
    if isinstance(failure, TimeoutError) and not str(failure):
        return f"no answer within {ANSWER_SECONDS:g} seconds"
    if _OF_POOLER.search(str(failure)):
        # Without the advice of asyncpg, which is for programmers.
        return (
            f"{failure.args[0]}; a pooler such as PgBouncer is in between: set "
            "CHATCORE_POOLER=transaction if it is in that mode, and see poolers in docs/scaling.md"
        )
    return failures.in_one_line(failure)
