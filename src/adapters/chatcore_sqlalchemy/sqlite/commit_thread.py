"""A writer for a database in this process.

The statements of a batch run on the event loop, and only the commit, which waits for the
disk, on a thread. The other way round, that thread would want the interpreter's lock back
from a busy event loop after every statement: measured with 64 senders, a quarter of the
throughput.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from chatcore_sqlalchemy.group_commit import Done, Outcome, Work

LOCKED_SECONDS = 2.0
"""How long to wait for another program that writes to the database. A service that stops
must not wait for long, either."""

RETRY_SECONDS = 0.01


class Locked(Exception):
    """Another program writes to the database. Nothing was done."""


class CommitTarget(Protocol):
    """What is written to. One call at a time."""

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


class CommitThread:
    """A Writer for GroupCommit, on one thread of its own."""

    def __init__(self, target: CommitTarget) -> None:
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[tuple[Callable[[], None], Callable[[Exception | None], None]]]
        self._calls = SimpleQueue()
        # A daemon: a store that nobody closed must not keep the interpreter from its end.
        self._thread = threading.Thread(target=self._run, name="chatcore-writer", daemon=True)

    async def open(self) -> None:
        """Start it. Raises what the database's `open` raises. However it ends, `close` has to
        be called."""
        self._thread.start()
        opened: asyncio.Future[Exception | None] = self._loop.create_future()

        def tell(failure: Exception | None) -> None:
            if not opened.done():
                opened.set_result(failure)

        self._on_thread(self._target.open, tell)
        failure = await opened
        if failure is not None:
            raise failure

    def write(self, batch: Sequence[Work], done: Done, locked_since: float | None = None) -> None:
        try:
            outcomes = self._target.apply(batch)
        except Locked as locked:
            now = self._loop.time()
            since = locked_since or now
            if now - since < LOCKED_SECONDS:
                self._loop.call_later(RETRY_SECONDS, self.write, batch, done, since)
            else:
                self._abandon(done, locked)
        except BaseException as error:
            self._abandon(done, error)
            # An interrupt is the event loop's, which may still be run to close this.
            if not isinstance(error, Exception):
                raise
        else:
            self._on_thread(self._target.commit, partial(self._committed, done, outcomes))

    def close(self, done: Callable[[], None]) -> None:
        def closed(_: Exception | None) -> None:
            # Its last call has returned, so this takes no time.
            self._thread.join()
            done()

        self._on_thread(self._target.close, closed)

    def _committed(
        self, done: Done, outcomes: Sequence[Outcome], failure: Exception | None
    ) -> None:
        if failure is None:
            done(outcomes)
        else:
            self._abandon(done, failure)

    def _abandon(self, done: Done, cause: BaseException) -> None:
        # First, so that a caller who hears of it finds nothing locked.
        self._on_thread(self._target.abandon, lambda _: done(cause))

    def _on_thread(
        self, call: Callable[[], None], then: Callable[[Exception | None], None]
    ) -> None:
        """Make the call on the thread, and then `then`, with what it raised, on the loop."""
        self._calls.put((call, then))

    def _run(self) -> None:
        call = None
        while call != self._target.close:
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
                self._target.close()
                return
