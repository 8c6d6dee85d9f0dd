"""Connects as a host's AsyncEngine does, for sessions of chatcore's own.

The connections leave the engine's pool at once: chatcore's settings must not reach the host's
statements, nor the host's settings chatcore's.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from chatcore.model import elapsed
from chatcore_postgres.servers import CONNECT_SECONDS
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.connection import (
    ANSWER_SECONDS,
    PLAN_SECONDS,
    Connection,
    Row,
    cannot_open,
)
from chatcore_sqlalchemy.postgres.session import (
    APPLICATION_NAME,
    persistently,
    set_up,
    settings_for,
)

# The first number differs from that of the handshake if a pooler stands between; the second is 0
# if the driver keeps no prepared statements, not even this one.
_FACTS = "SELECT pg_backend_pid(), (SELECT count(*) FROM pg_prepared_statements)"


class EngineSource:
    """Connects to the database of an engine, with the arguments and events of the engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        driver = f"{engine.dialect.name}+{engine.dialect.driver}"
        if engine.dialect.name == "sqlite":
            raise CannotOpen(
                "chatcore needs a SQLite file of its own, opened by its URL, for example "
                "sqlite:///chatcore.db"
            )
        if driver != "postgresql+asyncpg":
            raise CannotOpen(
                f"the engine is of {driver}; chatcore needs one of postgresql+asyncpg, for example "
                'create_async_engine("postgresql+asyncpg://user:password@host/database")'
            )
        # A pool of its own, which keeps no connection: the host may have used up the engine's.
        self._pool = engine.pool.recreate()
        self._errors = engine.dialect.dbapi.Error  # type: ignore[union-attr]
        self._checked = False

    async def connect(self) -> Connection:
        return _Limited(await self.raw(limited=True))

    async def raw(self, *, limited: bool) -> Any:
        try:
            async with asyncio.timeout(CONNECT_SECONDS) as patience:
                connection = await greenlet_spawn(self._detached)
        except TimeoutError:
            if not patience.expired():
                raise
            raise TimeoutError(f"no answer within {CONNECT_SECONDS:g} seconds") from None
        except self._errors as error:
            raise ConnectionError(str(error)) from error
        try:
            await self._expect_session(connection)
        except BaseException:
            connection.terminate()
            raise
        version = connection.get_server_version().major
        named = {"application_name": APPLICATION_NAME}
        settings = settings_for(limited=limited, given=named, version=version)
        await set_up(connection, settings, seconds=ANSWER_SECONDS)
        return connection

    def avoid(self, connection: Connection) -> None:
        """Does nothing: the engine chooses the server."""

    def cannot_open(self, failure: BaseException) -> CannotOpen:
        return cannot_open(failure, names_host=True)

    def _detached(self) -> Any:
        pooled = self._pool.connect()
        # The engine's own events may have begun a transaction.
        pooled.rollback()
        connection = pooled.driver_connection
        pooled.detach()
        return connection

    async def _expect_session(self, connection: Any) -> None:
        """Raise CannotOpen unless settings and prepared statements last as long as the
        connection."""
        if self._checked:
            return
        ((process, prepared),) = await persistently(lambda: connection.fetch(_FACTS))
        if not prepared:
            raise CannotOpen(
                "the engine keeps no prepared statements (statement_cache_size=0), which chatcore "
                "needs: give it an engine without that setting, to PostgreSQL itself"
            )
        if process != connection.get_server_pid():
            raise CannotOpen(
                "the engine connects through a pooler such as PgBouncer, but chatcore's settings "
                "must last as long as its connections: give it an engine to PostgreSQL itself"
            )
        self._checked = True


class _Limited:
    """A Connection with the limits that asyncpg takes only while it connects: an answer within
    ANSWER_SECONDS, and new plans every PLAN_SECONDS."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._planned_at = elapsed()

    async def execute(self, sql: str, /) -> str:
        status: str = await self._connection.execute(sql, timeout=ANSWER_SECONDS)
        return status

    async def fetch(self, sql: str, /, *values: Any) -> list[Row]:
        if elapsed() - self._planned_at > PLAN_SECONDS:
            self._planned_at = elapsed()
            await self.execute("DISCARD PLANS")
        rows: list[Row] = await self._connection.fetch(sql, *values, timeout=ANSWER_SECONDS)
        return rows

    def get_settings(self) -> Any:
        return self._connection.get_settings()

    def is_closed(self) -> bool:
        closed: bool = self._connection.is_closed()
        return closed

    def is_in_transaction(self) -> bool:
        inside: bool = self._connection.is_in_transaction()
        return inside

    async def close(self, *, timeout: float) -> None:  # noqa: ASYNC109 (it is asyncpg's)
        await self._connection.close(timeout=timeout)

    def terminate(self) -> None:
        self._connection.terminate()

    def add_termination_listener(self, callback: Callable[[Any], None]) -> None:
        self._connection.add_termination_listener(callback)
