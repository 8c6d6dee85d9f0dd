"""Group commit: concurrent writes share one transaction.

A commit that must reach the disk costs the same for one write as for a hundred. So writes
queue: while one batch commits, the next collects. No write waits for a batch to fill.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from sqlalchemy import Executable

from chatcore.errors import Overloaded, StoreUnavailable
from chatcore.model import NewMessage

MAX_BATCH = 128
"""Applying such a batch on SQLite blocks the event loop for some 3 ms."""

MAX_WAITING = 8192


class Run(Protocol):
    """Runs a statement inside a transaction."""

    def __call__(self, statement: Executable, /, **values: Any) -> Sequence[Sequence[Any]]: ...


Change = Callable[[Run], Any]
"""A write other than a message. An exception undoes this change alone and is raised to its
caller."""


class Append(NamedTuple):
    """The write of a message."""

    message: NewMessage
    digest: bytes | None
    """Of the request; None without an idempotency key."""


Work = Append | Change
Outcome = Any
"""The result for the caller, or an exception to raise to it."""

Done = Callable[[Sequence[Outcome] | BaseException], None]

W = TypeVar("W")
W_contra = TypeVar("W_contra", contravariant=True)


class Writer(Protocol[W_contra]):
    """Writes batches. Its methods run on the event loop and must not block it."""

    def write(self, batch: Sequence[W_contra], done: Done) -> None:
        """Apply a batch in one transaction, and commit it. In every case call `done` on the event
        loop once the batch has ended and holds no lock: with an outcome for each item, in order,
        or with the exception that failed the batch. One call at a time."""
        ...

    def close(self, done: Callable[[], None]) -> None:
        """Release the database, then call `done` on the event loop. Called last."""
        ...


class Writes(NamedTuple):
    """Figures of a queue of writes."""

    waiting: int
    """Writes that wait for the next batch, now."""
    items: int
    """Writes in all batches so far."""
    sizes: Sequence[int]
    """How many batches had 1 item, up to 2, up to 4, and so on; the last number counts larger
    batches."""


class _Item(NamedTuple):
    work: Any
    outcome: asyncio.Future[Outcome]


class GroupCommit(Generic[W]):
    """The queue in front of one writer, for one event loop.

    Callbacks of the event loop carry the batches, because a task could be cancelled.
    """

    def __init__(self, writer: Writer[W]) -> None:
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Item] = deque()
        self._busy = False
        self._batches = 0
        self._items = 0
        self._sizes = [0] * ((MAX_BATCH - 1).bit_length() + 2)
        self._closed = False
        self._ended = asyncio.Event()
        self.failing = False
        """Whether the last batch failed as a whole."""

    async def submit(self, work: W) -> Outcome:
        """Return the outcome of the work after its commit. Raises Refused, Overloaded and
        StoreUnavailable. Cancelling the caller leaves the work whole: done, or not."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded("too many writes are waiting")
        item = _Item(work, self._loop.create_future())
        self._waiting.append(item)
        if not self._busy:
            self._busy = True
            # Not at once: other writes may follow in this iteration of the event loop.
            self._loop.call_soon(self._next)
        outcome = await item.outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def version(self) -> int | None:
        """Changes with every batch; None while a batch is under way, and after `close`."""
        return None if self._busy or self._closed else self._batches

    @property
    def busy(self) -> bool:
        """Whether a batch is under way."""
        return self._busy

    @property
    def writes(self) -> Writes:
        return Writes(len(self._waiting), self._items, tuple(self._sizes))

    async def close(self) -> None:
        """Commit the waiting writes, refuse further ones, and close the writer, even if the caller
        is cancelled. May be called again."""
        if not self._closed:
            self._closed = True
            if not self._busy:
                self._end()
        await self._ended.wait()

    def _next(self) -> None:
        batch: list[_Item] = []
        while self._waiting and len(batch) < MAX_BATCH:
            item = self._waiting.popleft()
            # The caller was cancelled before its batch began, so its write is dropped.
            if not item.outcome.cancelled():
                batch.append(item)
        self._busy = bool(batch)
        if batch:
            self._batches += 1
            self._items += len(batch)
            self._sizes[(len(batch) - 1).bit_length()] += 1
            self._writer.write([item.work for item in batch], partial(self._written, batch))
        elif self._closed:
            self._end()

    def _written(self, batch: list[_Item], outcomes: Sequence[Outcome] | BaseException) -> None:
        self.failing = isinstance(outcomes, BaseException)
        if isinstance(outcomes, BaseException):
            outcomes = [_failure(outcomes) for _ in batch]
        for item, outcome in zip(batch, outcomes, strict=True):
            if not item.outcome.done():
                item.outcome.set_result(outcome)
        self._next()

    def _end(self) -> None:
        self._writer.close(self._ended.set)


def _failure(cause: BaseException) -> StoreUnavailable:
    # One exception per item: a shared one would grow its traceback in every task.
    failure = StoreUnavailable("the write may or may not have happened")
    failure.__cause__ = cause
    return failure
