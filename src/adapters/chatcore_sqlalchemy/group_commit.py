"""Group commit: writes that wait at the same time share one transaction.

A commit that must reach the disk costs the same for one write as for a hundred. So writes
queue, and while one batch commits, the next one gathers; nobody waits for a batch to fill.

The statements of a batch run on the event loop, and only the commit, which waits for the
disk, on a thread. The other way round, that thread would want the interpreter's lock back
from a busy event loop after every statement: measured with 64 senders, a quarter of the
throughput.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Executable

from chatcore.errors import Overloaded, StoreUnavailable
from chatcore.model import NewMessage

MAX_BATCH = 128
"""The event loop does nothing else while it applies one, for some 2 ms."""

MAX_WAITING = 8192

LOCKED_SECONDS = 2.0
"""How long to wait for another program that writes to the database. A service that stops
must not wait for long, either."""

RETRY_SECONDS = 0.01


class Run(Protocol):
    """Runs a statement inside the batch's transaction."""

    def __call__(self, statement: Executable, /, **values: Any) -> Sequence[Sequence[Any]]: ...


Change = Callable[[Run], Any]
"""A write that is no message. What it raises undoes it alone, and reaches its caller."""

Work = NewMessage | Change
Outcome = Any
"""What the caller gets; an exception is raised to it."""


class Locked(Exception):
    """Another program writes to the database. Nothing was done."""


class Writer(Protocol):
    """What does the writing. One call at a time."""

    def open(self) -> None:
        """Called first, on the thread."""
        ...

    def apply(self, batch: Sequence[Work]) -> Sequence[Outcome]:
        """Do the work in a new transaction; an outcome for each item, in order. Called on the
        event loop, so it must not wait. Raises Locked when it would have to."""
        ...

    def commit(self) -> None:
        """Make what was applied durable. Called on the thread."""
        ...

    def abandon(self) -> None:
        """After `apply` or `commit` failed: leave nothing of it. Called on the thread."""
        ...

    def close(self) -> None:
        """Called last, on the thread, whether or not `open` went well."""
        ...


class _Item(NamedTuple):
    work: Work
    outcome: asyncio.Future[Outcome]


class GroupCommit:
    """The queue in front of one writer.

    Callbacks of the event loop carry the batches, and no task that somebody could cancel.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Item] = deque()
        self._busy = False
        self._batches = 0
        self._locked_since: float | None = None
        self._calls: SimpleQueue[tuple[Callable[[], None], Callable[[Exception | None], None]]]
        self._calls = SimpleQueue()
        self._closed = False
        self._ended = asyncio.Event()
        # A daemon: a store that nobody closed must not keep the interpreter from its end.
        self._thread = threading.Thread(target=self._run, name="chatcore-writer", daemon=True)

    async def open(self) -> None:
        """Start the writer. Raises what its `open` raises; then it is closed already."""
        self._thread.start()
        opened: asyncio.Future[Exception | None] = self._loop.create_future()
        self._busy = True
        self._on_thread(self._writer.open, partial(self._opened, opened))
        failure: BaseException | None
        try:
            failure = await opened
        except asyncio.CancelledError as cancelled:
            failure = cancelled
        if failure is not None:
            await self.close()
            raise failure

    async def submit(self, work: Work) -> Outcome:
        """The outcome of the work, after its commit. Raises Refused, Overloaded,
        StoreUnavailable. A caller that is cancelled leaves the work whole: done, or not."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded("too many writes are waiting")
        item = _Item(work, self._loop.create_future())
        self._waiting.append(item)
        if not self._busy:
            self._busy = True
            # Not at once: others may come in this very round of the event loop.
            self._loop.call_soon(self._next)
        outcome = await item.outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def version(self) -> int | None:
        """Changes with every batch; None while one is under way, and after the end."""
        return None if self._busy or self._closed else self._batches

    async def close(self) -> None:
        """Commit what is waiting, take nothing more, and close the writer, all of which happens
        even if the caller is cancelled. May be called again."""
        if not self._closed:
            self._closed = True
            if not self._busy:
                self._end()
        await self._ended.wait()
        # Its last call has returned, so this takes no time.
        self._thread.join()

    def _opened(self, opened: asyncio.Future[Exception | None], failure: Exception | None) -> None:
        if not opened.done():
            opened.set_result(failure)
        self._next()

    def _next(self) -> None:
        batch: list[_Item] = []
        while self._waiting and len(batch) < MAX_BATCH:
            item = self._waiting.popleft()
            # A caller that gave up before its turn never asked.
            if not item.outcome.cancelled():
                batch.append(item)
        self._busy = bool(batch)
        if batch:
            self._batches += 1
            self._apply(batch)
            return
        self._locked_since = None
        if self._closed:
            self._end()

    def _apply(self, batch: list[_Item]) -> None:
        try:
            outcomes = self._writer.apply([item.work for item in batch])
        except Locked as locked:
            now = self._loop.time()
            self._locked_since = self._locked_since or now
            if now - self._locked_since < LOCKED_SECONDS:
                self._waiting.extendleft(reversed(batch))
                self._loop.call_later(RETRY_SECONDS, self._next)
            else:
                self._fail(batch, locked)
        except BaseException as error:
            self._fail(batch, error)
            # An interrupt is the event loop's, which may still be run to close this.
            if not isinstance(error, Exception):
                raise
        else:
            self._locked_since = None
            self._on_thread(self._writer.commit, partial(self._committed, batch, outcomes))

    def _committed(
        self, batch: list[_Item], outcomes: Sequence[Outcome], failure: Exception | None
    ) -> None:
        if failure is not None:
            self._fail(batch, failure)
            return
        for item, outcome in zip(batch, outcomes, strict=True):
            if not item.outcome.done():
                item.outcome.set_result(outcome)
        self._next()

    def _fail(self, batch: list[_Item], cause: BaseException) -> None:
        # First, so that a caller who hears of it finds nothing locked.
        self._on_thread(self._writer.abandon, lambda _: self._failed(batch, cause))

    def _failed(self, batch: list[_Item], cause: BaseException) -> None:
        for item in batch:
            if not item.outcome.done():
                # One each: raised in many tasks, a shared one would grow its traceback.
                failure = StoreUnavailable("the write may or may not have happened")
                failure.__cause__ = cause
                item.outcome.set_result(failure)
        self._next()

    def _end(self) -> None:
        self._on_thread(self._writer.close, lambda _: self._ended.set())

    def _on_thread(
        self, call: Callable[[], None], then: Callable[[Exception | None], None]
    ) -> None:
        """Make the call on the thread, and then `then`, with what it raised, on the loop."""
        self._calls.put((call, then))

    def _run(self) -> None:
        call = None
        while call != self._writer.close:
            call, then = self._calls.get()
            failure = None
            try:
                call()
            except Exception as error:
                failure = error
            try:
                self._loop.call_soon_threadsafe(then, failure)
            except RuntimeError:
                # The loop is closed: nobody waits, and nobody will call `close`.
                self._writer.close()
                return
