"""A few connections for many callers.

asyncpg's own pool makes a task and a round trip to the server at every release, a noticeable
part of reading a page.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from chatcore.errors import Overloaded, Refused, StoreUnavailable
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.connection import (
    FAILURES,
    Connection,
    ends_connection,
    finds_no_room,
    in_one_line,
    without_data,
)
from chatcore_sqlalchemy.postgres.history import AGE_SECONDS, History

WAIT_SECONDS = 5.0
"""How long a caller waits for a connection while all are in use."""

RETRY_SECONDS = 3.0
"""How long a pool does without a connection that the server had no room for."""

CLOSE_SECONDS = 1.0
"""How long closing waits for the work under way, and then for the server to end each connection."""

BEGIN = "BEGIN"

_UNKNOWN = "the write may or may not have happened"

T = TypeVar("T")


class _Lost(Exception):
    """The connection broke, and nothing that was done on it took effect."""


class _Outdated(_Lost):
    """Another server took over during the work."""


class Pool:
    """At most `size` connections, made by `connect` when needed, and kept while the history holds
    them for usable; one more while a new one is made to replace an old one, and fewer while the
    server has no room for more."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], size: int, history: History
    ) -> None:
        self._connect = connect
        self._history = history
        history.on_change(self._end_unusable)
        self._size = size
        self._free = asyncio.Semaphore(size)
        # A stack: the connection used last is used first, and the others stay idle.
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        self._making = 0
        # Timers of turns that are withheld: the server had no room for their connections.
        self._withheld: set[asyncio.TimerHandle] = set()
        # The connection that another pool waits for.
        self._given: asyncio.Future[Connection | None] | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._renewed: Connection | None = None
        # The event loop itself holds only weak references to tasks.
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._closing = asyncio.Lock()

    async def use(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do the work with exclusive use of a connection.

        If the connection turns out to be lost, or another server took over during the work, the
        work is done once more on a new one. So the work must raise StoreUnavailable itself once it
        may have taken effect. Raises Overloaded when no connection becomes free within
        WAIT_SECONDS, else StoreUnavailable.
        """
        try:
            try:
                return await self._attempt(work)
            except _Lost as lost:
                if not isinstance(lost, _Outdated):
                    # Probably lost while idle, and then the other idle ones are lost too.
                    self._forget_idle()
                return await self._attempt(work)
        except (*FAILURES, _Lost) as error:
            raise StoreUnavailable(in_one_line(error)) from without_data(error)

    async def transact(
        self, work: Callable[[Connection], Awaitable[T]], *, begin: str = BEGIN
    ) -> T:
        """Do the work in a transaction, which `begin` begins, and commit unless the work raises.
        Raises what the work and `use` raise."""

        async def begin_and_commit(connection: Connection) -> T:
            epoch = self._history.epoch
            try:
                await connection.execute(begin)
            except asyncio.CancelledError:
                # It may have begun, and then failed: the next caller would be within it.
                connection.terminate()
                raise
            try:
                outcome = await work(connection)
            except Refused:
                await connection.execute("ROLLBACK")
                raise
            try:
                await connection.execute("COMMIT")
            except FAILURES as error:
                raise StoreUnavailable(_UNKNOWN) from without_data(error)
            if self._history.epoch != epoch:
                # Committed on the former server, perhaps after the present one took over.
                raise StoreUnavailable(_UNKNOWN)
            return outcome

        return await self.use(begin_and_commit)

    async def close(self) -> None:
        """Close all connections. Work still under way after CLOSE_SECONDS fails. May be called
        again."""
        self._closed = True
        while self._withheld:
            self._withheld.pop().cancel()
            self._free.release()
        if self._renewal is not None:
            self._renewal.cancel()
        idle, self._idle = self._idle, []
        async with asyncio.TaskGroup() as closing:
            for connection in idle:
                closing.create_task(_close(connection))
            closing.create_task(self._close_used())
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _close_used(self) -> None:
        # The semaphore is fair: earlier users and waiters come first.
        async with self._closing:
            held = 0
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    while held < self._size:
                        await self._free.acquire()
                        held += 1
            except TimeoutError:
                for connection in self._used:
                    connection.terminate()
                self._history.abandon()
            for _ in range(held):
                self._free.release()

    async def _attempt(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._connection() as connection:
            epoch = self._history.epoch
            try:
                outcome = await work(connection)
                if self._history.epoch != epoch:
                    raise _Outdated("another database server took over")
                return outcome
            except TimeoutError:
                # A late answer must not reach the next statement.
                connection.terminate()
                raise
            except FAILURES as error:
                if connection.is_closed() or ends_connection(error):
                    connection.terminate()
                    raise _Lost(in_one_line(error)) from without_data(error)
                raise

    async def give(self) -> Connection | None:
        """Return a connection that no longer belongs to the pool, once its work has ended; None
        without one. One call at a time."""
        for connection in reversed(self._idle):
            if self._can_give(connection):
                self._idle.remove(connection)
                return connection
        if not self._used:
            return None
        self._given = asyncio.get_running_loop().create_future()
        return await self._given

    def _can_give(self, connection: Connection) -> bool:
        # One that is being replaced is about to be closed.
        return (
            connection is not self._renewed
            and not connection.is_closed()
            and self._history.usable(connection)
        )

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        await take_turn(self._free)
        connection = None
        try:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            connection = await self._reused()
        except BaseException:
            self._free.release()
            raise
        if connection is None:
            connection = await self._another()
        self._used.add(connection)
        try:
            yield connection
        finally:
            self._used.discard(connection)
            self._keep(connection)
            self._free.release()

    async def _another(self) -> Connection:
        """Make a connection for a caller that has a turn; while the server has no room for it, wait
        for one that exists."""
        deadline = None
        while True:
            try:
                if self._closed:
                    raise StoreUnavailable("the store is closed")
                return await self._reused() or await self._made()
            except BaseException as failure:
                if not (finds_no_room(failure) and (self._used or self._idle or self._making)):
                    self._free.release()
                    raise
            self._withhold()
            now = asyncio.get_running_loop().time()
            deadline = deadline or now + WAIT_SECONDS
            await take_turn(self._free, deadline - now)

    async def _made(self) -> Connection:
        self._making += 1
        try:
            connection = await self._make()
        finally:
            self._making -= 1
        if self._closed:
            # `close` did not wait for it, and nothing may be written after that.
            connection.terminate()
            raise StoreUnavailable("the store is closed")
        return connection

    async def _make(self) -> Connection:
        return await self._connect()

    def _withhold(self) -> None:
        """Keep a turn for RETRY_SECONDS, so that callers wait for the connections that exist."""

        def give_back() -> None:
            self._withheld.discard(timer)
            self._free.release()

        timer: asyncio.TimerHandle = asyncio.get_running_loop().call_later(RETRY_SECONDS, give_back)
        self._withheld.add(timer)

    async def _reused(self) -> Connection | None:
        """Return an idle connection that is usable, or the one that replaces it; None without
        one."""
        while self._idle:
            connection = self._idle.pop()
            if not self._history.usable(connection):
                self._retire(connection)
                continue
            overdue = self._history.overdue(connection)
            if overdue >= AGE_SECONDS:
                try:
                    return await self._successor(connection)
                except BaseException:
                    self._keep(connection)
                    raise
            if overdue >= 0 and self._renewal is None:
                # Under load no caller waits for a new connection.
                self._renewal = self._start(self._renew(connection))
            return connection
        return None

    async def _renew(self, connection: Connection) -> None:
        self._renewed = connection
        try:
            new = await self._successor(connection)
            if connection.is_closed():
                # The caller that lost it has replaced it.
                self._retire(new)
            elif new is not connection:
                self._keep(new)
        finally:
            self._renewal = self._renewed = None

    async def _successor(self, old: Connection) -> Connection:
        """Return a new connection in place of the old one, or the old one if none can be made: then
        nothing shows that another server took over."""
        try:
            new = await self._connect()
        except (*FAILURES, StoreUnavailable, CannotOpen):
            self._history.prolong(old)
            return old
        self._history.expire(old)
        if old in self._idle:
            self._idle.remove(old)
        if old not in self._used:
            self._retire(old)
        return new

    def _end_unusable(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            if not connection.is_closed():
                self._keep(connection)

    def _retire(self, connection: Connection) -> None:
        """Close a connection that is not used any more, without waiting for it."""
        self._start(_close(connection))

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _forget_idle(self) -> None:
        while self._idle:
            self._idle.pop().terminate()

    def _keep(self, connection: Connection) -> None:
        kept = False
        if connection.is_closed():
            if not self._closed:
                self._history.lost()
        elif self._closed or connection.is_in_transaction():
            # An open transaction must not reach the next caller.
            connection.terminate()
        elif self._history.usable(connection):
            kept = True
        else:
            self._retire(connection)
        given = self._given
        if given is not None and not given.done():
            if kept and self._can_give(connection):
                given.set_result(connection)
                return
            if not self._used:
                given.set_result(None)
        if kept:
            self._idle.append(connection)


async def take_turn(free: asyncio.Semaphore, seconds: float | None = None) -> None:
    """Acquire the semaphore. Raises Overloaded after `seconds`, by default WAIT_SECONDS."""
    if not free.locked():
        # The fast path needs no timer.
        await free.acquire()
        return
    try:
        async with asyncio.timeout(WAIT_SECONDS if seconds is None else seconds):
            await free.acquire()
    except TimeoutError:
        raise Overloaded("all connections to the database are in use") from None


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=CLOSE_SECONDS)
    except FAILURES:
        connection.terminate()
