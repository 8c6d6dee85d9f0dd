"""A transaction of a host: chatcore's statements within it, and what happens at its end."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from weakref import ReferenceType, WeakKeyDictionary, ref

import asyncpg
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

from chatcore.errors import StoreUnavailable
from chatcore_sqlalchemy.postgres.connection import (
    FAILURES,
    Connection,
    Row,
    in_one_line,
    without_data,
)
from chatcore_sqlalchemy.postgres.history import History
from chatcore_sqlalchemy.postgres.session import LOCK_SECONDS, STATEMENT_SECONDS
from chatcore_sqlalchemy.postgres.statement import in_schema

HostConnection = AsyncConnection | AsyncSession | async_scoped_session[Any]

_NAME = "chatcore"
_SAVEPOINT = f"SAVEPOINT {_NAME}"
_UNDO = f"ROLLBACK TO SAVEPOINT {_NAME}; RELEASE SAVEPOINT {_NAME}"
_RELEASE = f"RELEASE SAVEPOINT {_NAME}"

# Reads the former values before it sets others. A host's own time limits stay.
_SET = """
WITH former AS MATERIALIZED (
    SELECT name, wanted, current_setting(name) AS value
    FROM unnest($1::text[], $2::text[]) AS setting (name, wanted)
)
SELECT name, value, txid_current(), current_setting('transaction_isolation'), set_config(
    name, CASE WHEN name LIKE '%timeout' AND value <> '0' THEN value ELSE wanted END, true)
FROM former
"""
_RESTORE = """
SELECT set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS former (name, value)
"""
_STORE = "SELECT log, timeline FROM {schema}.store"

_NO_TRANSACTION = "25P01"

_LATE = "no answer within the time limit of your connection"

_END = re.compile(
    r"\s*(?:(commit|end)|rollback(?!(?:\s+(?:work|transaction))?\s+to\b)|abort)\b", re.IGNORECASE
)

_AT_SAVEPOINT = re.compile(
    r"\s*(?:(savepoint)|rollback(?:\s+(?:work|transaction))?\s+to(?:\s+savepoint)?)\s+([^\s;]+)",
    re.IGNORECASE,
)


class _State(NamedTuple):
    """What a rollback to a savepoint takes back."""

    chats: frozenset[int] = frozenset()
    users: frozenset[int] = frozenset()
    calls: tuple[Callable[[], None], ...] = ()


class HostTransaction:
    """What chatcore holds in one transaction of a host, and what to call after its commit."""

    def __init__(self, connection: AsyncConnection, driver: Any, number: int) -> None:
        self.number = number
        self.ended = False
        self._connection = connection.sync_connection
        self._driver = driver
        self._state = _State()
        self._savepoints: list[tuple[str, _State]] = []
        event.listen(self._connection, "after_cursor_execute", self._after_statement)
        # SQLAlchemy has an event before the commit of a connection, and none after it.
        driver.add_query_logger(self._after_query)

    def expect_order(self, chats: Iterable[int], users: Iterable[int] = ()) -> None:
        """Raise RuntimeError if these locks would come after higher ones: all chats, by ascending
        ids, then all users. Locks that are held already may come at any time."""
        held = self._state
        if not held.users:
            return
        new_users = frozenset(users) - held.users
        if not held.chats.issuperset(chats) or (new_users and min(new_users) < max(held.users)):
            raise RuntimeError(
                "this transaction wrote to other chats before, and one more could deadlock: open "
                "chats before the transaction, and send all its messages by one `send_all`"
            )

    def hold(self, chats: Iterable[int], users: Iterable[int]) -> None:
        state = self._state
        self._state = state._replace(chats=state.chats.union(chats), users=state.users.union(users))

    def after_commit(self, call: Callable[[], None]) -> None:
        self._state = self._state._replace(calls=(*self._state.calls, call))

    def forget(self) -> None:
        """Stop listening: the transaction has ended. May be called again."""
        if self.ended:
            return
        self.ended = True
        self._driver.remove_query_logger(self._after_query)
        event.remove(self._connection, "after_cursor_execute", self._after_statement)

    def _after_statement(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        # SQLAlchemy's own events of savepoints do not name a new one.
        found = _AT_SAVEPOINT.match(statement)
        if found is None or found[2] == _NAME:
            return
        if found[1]:
            self._savepoints.append((found[2], self._state))
            return
        # A savepoint older than the first step takes everything back.
        self._state = _State()
        while self._savepoints:
            name, state = self._savepoints.pop()
            if name == found[2]:
                self._savepoints.append((name, state))
                self._state = state
                break

    def _after_query(self, record: Any) -> None:
        found = _END.match(record.query)
        if found is None:
            return
        self.forget()
        # Also after an unknown outcome: a ring for nothing does no harm.
        if found[1]:
            for call in self._state.calls:
                call()


class Inside(NamedTuple):
    """A step of chatcore within a transaction of a host."""

    driver: Connection
    transaction: HostTransaction


class HostConnections:
    """Runs steps of one store within transactions of hosts.

    `fetch` runs a query on a connection of the store's own, which follows the history.
    """

    def __init__(
        self, fetch: Callable[[str], Awaitable[Sequence[Row]]], schema: str, history: History
    ) -> None:
        self._fetch = fetch
        self._query = in_schema(_STORE, schema)
        self._history = history
        history.on_change(self._forget)
        self._log_name = ""
        self._settings: dict[str, str] = {}
        # References, for a transaction refers to its connection, and must not outlive it.
        self._transactions: WeakKeyDictionary[Any, ReferenceType[HostTransaction]]
        self._transactions = WeakKeyDictionary()

    @asynccontextmanager
    async def step(self, host: HostConnection) -> AsyncIterator[Inside]:
        """Run the block under a savepoint, with chatcore's time limits. An
        exception undoes the block, and then the host's transaction is as before. Raises
        StoreUnavailable for a failure of the database."""
        # Kept for this step: a connection lost during it empties them.
        settings = self._settings or await self._look_up()
        connection = host if isinstance(host, AsyncConnection) else await host.connection()
        if (found := connection.dialect.driver) != "asyncpg":
            raise TypeError(
                f"your connection is one of {connection.dialect.name}+{found}; chatcore needs one "
                "of postgresql+asyncpg, or an outbox (docs/outbox.md)"
            )
        try:
            await connection.exec_driver_sql(_SAVEPOINT)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == _NO_TRANSACTION:
                raise RuntimeError("your connection commits each statement (AUTOCOMMIT)") from None
            raise StoreUnavailable(in_one_line(error.orig or error)) from error
        except TimeoutError as error:
            raise StoreUnavailable(_LATE) from error
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        try:
            set_ = await driver.fetch(_SET, [*settings], [*settings.values()])
            names, values, numbers, levels, _ = zip(*set_, strict=True)
            yield Inside(driver, await self._transaction(connection, driver, numbers[0], levels[0]))
            await driver.fetch(_RESTORE, names, values)
            await driver.execute(_RELEASE)
        except BaseException as error:
            await _undo(driver)
            if isinstance(error, asyncpg.LockNotAvailableError):
                raise StoreUnavailable("another transaction has locked a chat or a user") from None
            if isinstance(error, TimeoutError) and not str(error):
                raise StoreUnavailable(_LATE) from error
            if isinstance(error, FAILURES):
                raise StoreUnavailable(in_one_line(error)) from without_data(error)
            raise

    def _forget(self) -> None:
        self._settings = {}

    async def _look_up(self) -> dict[str, str]:
        ((self._log_name, _),) = await self._fetch(self._query)
        self._settings = {
            "lock_timeout": f"{LOCK_SECONDS}s",
            "statement_timeout": f"{STATEMENT_SECONDS}s",
        }
        return self._settings

    async def _transaction(
        self, connection: AsyncConnection, driver: Any, number: int, isolation: str
    ) -> HostTransaction:
        known = reference() if (reference := self._transactions.get(driver)) else None
        if known is not None and not known.ended:
            if known.number == number:
                return known
            known.forget()
        if isolation != "read committed":
            raise RuntimeError(
                f"your transaction is at isolation level {isolation}; chatcore needs READ "
                "COMMITTED, to see what others wrote before it got their locks"
            )
        try:
            store = await driver.fetch(self._query)
        except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError) as error:
            raise RuntimeError(
                f"your connection cannot use chatcore's tables: {in_one_line(error)}"
            ) from None
        if [log for log, _ in store] != [self._log_name]:
            raise RuntimeError("your connection is to another database than that of the store")
        [(_, timeline)] = store
        if (timeline or 0) < (self._history.kept.timeline or 0):
            raise StoreUnavailable("your connection is to a former primary of the database")
        made = HostTransaction(connection, driver, number)
        self._transactions[driver] = ref(made)
        return made


async def _undo(driver: Any) -> None:
    """Undo a step, or end the connection: a commit must neither store half a step nor, in a
    transaction that has failed, store nothing without an error."""
    try:
        await driver.execute(_UNDO)
    except BaseException as error:
        driver.terminate()
        if not isinstance(error, FAILURES):
            raise


def expect_host_connection(connection: object) -> HostConnection:
    """Return the connection. Raises TypeError unless it is one of asyncpg through SQLAlchemy."""
    if isinstance(connection, AsyncConnection | AsyncSession | async_scoped_session):
        return connection
    raise TypeError(
        f"not an AsyncConnection or AsyncSession of SQLAlchemy: {type(connection).__name__}; other "
        "programs use an outbox (docs/outbox.md)"
    )
