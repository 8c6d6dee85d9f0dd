"""Group commit: writes that wait at the same time share one transaction.

A commit that must reach the disk costs the same for one write as for a hundred. So writes
queue, and while one batch commits, the next one gathers; nobody waits for a batch to fill.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy import Connection

from chatcore.errors import Overloaded, Refused, StoreUnavailable
from chatcore.model import NewMessage

Change = Callable[[Connection], Any]
"""A write of its own kind, run inside the batch's transaction; what it raises as Refused
undoes it alone."""

Work = NewMessage | Change
Outcome = Any
"""What the caller gets; a Refused is raised to it."""

MAX_BATCH = 512
MAX_WAITING = 8192


class GroupCommit:
    """The queue in front of one writer.

    `commit` takes a batch, makes it durable as one transaction, and returns an outcome for
    each item, in order. When it raises, the whole batch gets StoreUnavailable, and the
    queue goes on.
    """

    def __init__(self, commit: Callable[[Sequence[Work]], Awaitable[Sequence[Outcome]]]) -> None:
        self._commit = commit
        self._waiting: list[tuple[Work, asyncio.Future[Any]]] = []
        self._drainer: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, work: Work) -> Any:
        """The outcome of the work, after its commit. Raises Refused, Overloaded,
        StoreUnavailable. A caller that is cancelled leaves the work whole: done, or not."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded("too many writes are waiting")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._drainer is None:
            self._drainer = asyncio.create_task(self._drain())
        return await future

    async def close(self) -> None:
        """Commit what is waiting and take nothing more."""
        self._closed = True
        if self._drainer is not None:
            await asyncio.wait([self._drainer])

    async def _drain(self) -> None:
        batch: list[tuple[Work, asyncio.Future[Any]]] = []
        try:
            while self._waiting:
                # A caller that gave up before its turn never asked.
                batch = [item for item in self._waiting[:MAX_BATCH] if not item[1].done()]
                del self._waiting[:MAX_BATCH]
                if batch:
                    await self._commit_batch(batch)
        finally:
            self._drainer = None
            # Not empty only when this task itself was cancelled, with the loop going down.
            _fail([*batch, *self._waiting], None)
            self._waiting.clear()

    async def _commit_batch(self, batch: list[tuple[Work, asyncio.Future[Any]]]) -> None:
        try:
            outcomes = await self._commit([work for work, _ in batch])
        except Exception as error:
            _fail(batch, error)
            return
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Refused):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def _fail(batch: list[tuple[Work, asyncio.Future[Any]]], cause: Exception | None) -> None:
    for _, future in batch:
        if not future.done():
            # One exception each: raised in many tasks, a shared one would grow its traceback.
            error = StoreUnavailable("the write may or may not have happened")
            error.__cause__ = cause
            future.set_exception(error)
