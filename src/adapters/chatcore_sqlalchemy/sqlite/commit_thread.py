"""A writer for a database in this process.

The statements of a batch run on the event loop; only the commit, which waits for the disk, runs on
a thread. If the statements ran on the thread too, it would have to regain the interpreter's lock
from a busy event loop after each one: measured with 64 senders, a quarter of the throughput.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from chatcore_sqlalchemy.group_commit import Done, Outcome, Work

LOCKED_SECONDS = 2.0
"""How long a batch waits for another program that writes to the database. Short, because a
service that stops waits as long."""

RETRY_SECONDS = 0.01


class Locked(Exception):
    """Another program writes to the database, and nothing of the batch was done."""


class CommitTarget(Protocol):
    """A database that takes batches, for `CommitThread`. One call at a time."""

    def open(self) -> None:
        """Open the database. Called first, on the thread."""
        ...

    def apply(self, batch: Sequence[Work]) -> Sequence[Outcome]:
        """Do the work in a new transaction; return an outcome for each item, in order. Called on
        the event loop, so it must not wait: raises Locked instead."""
        ...

    def commit(self) -> None:
        """Make the applied batch durable. Called on the thread."""
        ...

    def abandon(self) -> None:
        """Undo the batch after `apply` or `commit` failed. Called on the thread."""
        ...

    def close(self) -> None:
        """Release the database, even if `open` failed. Called last, on the thread."""
        ...


class CommitThread:
    """A Writer for GroupCommit that commits on a thread of its own."""

    def __init__(self, target: CommitTarget) -> None:
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[tuple[Callable[[], None], Callable[[Exception | None], None]]]
        self._calls = SimpleQueue()
        # A daemon: a store that was never closed must not keep the interpreter alive.
        self._thread = threading.Thread(target=self._run, name="chatcore-writer", daemon=True)

    async def open(self) -> None:
        """Start the thread and open the target. Raises what the target's `open` raises. Call
        `close` in every case."""
        self._thread.start()
        opened: asyncio.Future[Exception | None] = self._loop.create_future()

        def report(failure: Exception | None) -> None:
            if not opened.done():
                opened.set_result(failure)

        self._on_thread(self._target.open, report)
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
            # An interrupt is for the event loop, which may still run to close the store.
            if not isinstance(error, Exception):
                raise
        else:
            self._on_thread(self._target.commit, partial(self._committed, done, outcomes))

    def close(self, done: Callable[[], None]) -> None:
        def closed(_: Exception | None) -> None:
            # The thread has made its last call, so the join takes no time.
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
        # Undo before `done`, so that the caller finds nothing locked.
        self._on_thread(self._target.abandon, lambda _: done(cause))

    def _on_thread(
        self, call: Callable[[], None], then: Callable[[Exception | None], None]
    ) -> None:
        """Make the call on the thread, then call `then` with its exception, if any, on the loop."""
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
                # The loop is closed: no caller waits, and `close` will never be called.
                self._target.close()
                return
