"""Connections through a pooler such as PgBouncer.

In session mode a client keeps one session of the server, so nothing differs. In transaction mode
each transaction may run in another session, which other programs use too.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal

import asyncpg

from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.session import DURABLE, persistently

Pooler = Literal["transaction"]
"""The mode of a pooler that chatcore must know of."""

_COMMIT = f"{DURABLE.format(local=True)}; COMMIT"


class PooledConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that needs nothing of a session: settings last for one transaction, and no
    prepared statement stays on the server.

    A query outside a transaction gets one of its own. Connect with `statement_cache_size=0`, and
    set `begin` to what `begin_with` returns.
    """

    begin = "BEGIN"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._descriptions: dict[str, Any] = {}

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        if query.startswith("BEGIN"):
            query = self.begin + query.removeprefix("BEGIN")
        elif query.startswith("COMMIT"):
            query = _COMMIT
        status: str = await super().execute(query, *args, **options)
        return status

    async def fetch(self, query: str, *args: Any, **options: Any) -> list[Any]:
        if self.is_in_transaction():
            return await self._fetch(query, *args, **options)
        try:
            await self.execute("BEGIN")
        except asyncio.CancelledError:
            # As in `Pool.transact`. From here on, `Pool` sees an open transaction.
            self.terminate()
            raise
        try:
            rows = await self._fetch(query, *args, **options)
        except asyncpg.PostgresError:
            # The next query gets a transaction of its own. If this fails, too, `Pool` sees an open
            # transaction.
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await super().execute("ROLLBACK")
            raise
        await super().execute("COMMIT")
        return rows

    async def _fetch(self, query: str, *args: Any, **options: Any) -> list[Any]:
        # asyncpg parses an unnamed statement again with each use, in the same round trip; what it
        # keeps are the types of its parameters and columns.
        statement = self._descriptions.get(query)
        if statement is None:
            statement = self._descriptions[query] = await self.prepare(query)
        rows: list[Any] = await statement.fetch(*args, **options)
        return rows


async def expect_own_session(connection: Any, connect: Callable[[], Awaitable[Any]]) -> None:
    """Raise CannotOpen if a pooler in transaction mode lends the session of the connection to
    others. `connect` makes another connection.

    It finds what an idle pooler does; a busy one may use sessions in an order that hides it. Before
    `set_up`, whose settings must not reach others.
    """
    process = await persistently(lambda: _process_of(connection))
    # A pooler gives its clients numbers of its own.
    if process == connection.get_server_pid():
        return
    shared = False
    # A pooler that has no session left gives no other: then this one is not lent.
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        other = await connect()
        try:
            await other.execute("BEGIN")
            shared = process in {None, await _process_of(other)}
            shared = shared or await _process_of(connection) != process
        finally:
            other.terminate()
    if shared:
        raise CannotOpen(
            "a pooler in transaction mode is between chatcore and the database: set "
            "CHATCORE_POOLER=transaction and a CHATCORE_BUS_URL, or name the PostgreSQL server "
            "itself in the URL (poolers in docs/scaling.md)"
        )


async def _process_of(connection: Any) -> int | None:
    """The process that serves the connection; None if its session changed in between."""
    try:
        # Unnamed, so that nothing stays in a session of others.
        statement = await connection.prepare("SELECT pg_backend_pid()", name="")
        process: int = await statement.fetchval()
    except asyncpg.InvalidSQLStatementNameError:
        return None
    return process
