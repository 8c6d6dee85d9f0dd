"""Writes the batches of group commit to PostgreSQL."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from chatcore_sqlalchemy.group_commit import Append, Done, Outcome
from chatcore_sqlalchemy.postgres.batch import append_batch
from chatcore_sqlalchemy.postgres.pool import Pool


class PostgresWriter:
    """A Writer that appends messages, each batch in a transaction. The pool is its own: a single
    connection, so that reads cannot keep it waiting."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        # The event loop itself holds only weak references to tasks.
        self._tasks: set[asyncio.Task[None] | asyncio.Task[Sequence[Outcome]]] = set()

    def write(self, batch: Sequence[Append], done: Done) -> None:
        appending = partial(append_batch, batch=batch)
        task = asyncio.create_task(self._pool.transact(appending))
        self._tasks.add(task)

        def finished(task: asyncio.Task[Sequence[Outcome]]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                # Something cancelled all tasks of the loop.
                done(asyncio.CancelledError())
            else:
                done(task.exception() or task.result())

        task.add_done_callback(finished)

    def close(self, done: Callable[[], None]) -> None:
        task = asyncio.create_task(self._pool.close())
        self._tasks.add(task)

        def closed(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            done()

        task.add_done_callback(closed)
