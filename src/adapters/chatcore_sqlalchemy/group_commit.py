"""Group commit: writes that wait at the same time share one transaction.

A commit that must reach the disk costs the same for one write as for a hundred. So writes
queue, and while one batch commits, the next one gathers; nobody waits for a batch to fill.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Executable

from chatcore.errors import Overloaded, StoreUnavailable
from chatcore.model import NewMessage

MAX_BATCH = 512
MAX_WAITING = 8192


class Run(Protocol):
    """Runs a statement inside the batch's transaction."""

    def __call__(self, statement: Executable, /, **values: Any) -> Sequence[Sequence[Any]]: ...


Change = Callable[[Run], Any]
"""A write that is no message. What it raises undoes it alone, and reaches its caller."""

Work = NewMessage | Change
Outcome = Any
"""What the caller gets; an exception is raised to it."""


class Writer(Protocol):
    """What does the writing, on a thread of its own: `open`, any number of `commit`, `close`."""

    def open(self) -> None: ...

    def commit(self, batch: Sequence[Work]) -> Sequence[Outcome]:
        """Make the batch durable as one transaction; an outcome for each item, in order.
        When this raises, the whole batch gets StoreUnavailable, and the next one is tried."""
        ...

    def close(self) -> None:
        """Called whether or not `open` went well."""
        ...


class _Item(NamedTuple):
    work: Work
    outcome: asyncio.Future[Outcome]


class GroupCommit:
    """The queue in front of one writer.

    Its thread takes batches by itself, so no task carries them that somebody could cancel.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._opened: asyncio.Future[Exception | None] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._closed = False
        # A daemon: a store that nobody closed must not keep the interpreter from its end.
        self._thread = threading.Thread(target=self._run, name="chatcore-writer", daemon=True)

    async def open(self) -> None:
        """Start the writer. Raises what its `open` raises; then it is closed already."""
        self._thread.start()
        failure: BaseException | None
        try:
            failure = await self._opened
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
        if self._queue.qsize() >= MAX_WAITING:
            raise Overloaded("too many writes are waiting")
        item = _Item(work, self._loop.create_future())
        self._queue.put(item)
        outcome = await item.outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def close(self) -> None:
        """Commit what is waiting, take nothing more, and close the writer, all of which happens
        even if the caller is cancelled. May be called again."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await self._ended.wait()
        self._thread.join()  # It has nothing left to do.

    def _run(self) -> None:
        failure = None
        try:
            self._writer.open()
        except Exception as error:
            failure = error
        self._tell(_settle, [self._opened], [failure])
        while failure is None and (batch := self._take()):
            self._tell(_settle, [item.outcome for item in batch], self._commit(batch))
        self._writer.close()
        self._tell(self._ended.set)

    def _take(self) -> list[_Item]:
        """The next batch; an empty one is the end."""
        batch: list[_Item] = []
        while (item := self._queue.get()) is not None:
            # A caller that gave up before its turn never asked.
            if not item.outcome.cancelled():
                batch.append(item)
            if len(batch) == MAX_BATCH or (batch and self._queue.empty()):
                return batch
        if batch:
            self._queue.put(None)
        return batch

    def _commit(self, batch: Sequence[_Item]) -> Sequence[Outcome]:
        try:
            return self._writer.commit([item.work for item in batch])
        except Exception as error:
            # One each: raised in many tasks, a shared one would grow its traceback.
            failures = [StoreUnavailable("the write may or may not have happened") for _ in batch]
            for failure in failures:
                failure.__cause__ = error
            return failures

    def _tell(self, callback: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            # The loop is closed: nobody waits, and nobody will call `close`.
            self._queue.put(None)


def _settle(futures: Sequence[asyncio.Future[Outcome]], outcomes: Sequence[Outcome]) -> None:
    for future, outcome in zip(futures, outcomes, strict=True):
        if not future.done():
            future.set_result(outcome)
