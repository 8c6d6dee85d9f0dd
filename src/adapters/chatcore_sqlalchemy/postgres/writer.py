"""Writes the batches of group commit to PostgreSQL."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from chatcore_sqlalchemy.group_commit import Append, Done, Outcome
from chatcore_sqlalchemy.postgres.batch import (
    LOCK_FREE,
    StillLocked,
    append_batch,
    waiting_in_bounds,
)
from chatcore_sqlalchemy.postgres.connection import Connection
from chatcore_sqlalchemy.postgres.locked_chats import LockedChats
from chatcore_sqlalchemy.postgres.pool import Pool

PATIENCE_MILLISECONDS = 50
"""How long a batch waits for a lock. Batches of other nodes end sooner: a transaction that takes
longer is a host's, and then the batch leaves out what that holds."""

_BEGIN = f"BEGIN; SET LOCAL lock_timeout = {PATIENCE_MILLISECONDS}"


class PostgresWriter:
    """A Writer that appends messages, each batch in a transaction. The pool is its own: a single
    connection, so that reads cannot keep it waiting."""

    def __init__(self, pool: Pool, schema: str, locked_chats: LockedChats) -> None:
        self._pool = pool
        self._schema = schema
        self._locked_chats = locked_chats
        # The event loop itself holds only weak references to tasks.
        self._tasks: set[asyncio.Task[None] | asyncio.Task[Sequence[Outcome]]] = set()

    def write(self, batch: Sequence[Append], done: Done) -> None:
        task = asyncio.create_task(self._append(batch))
        self._tasks.add(task)

        def finished(task: asyncio.Task[Sequence[Outcome]]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                # Something cancelled all tasks of the loop.
                done(asyncio.CancelledError())
            else:
                done(task.exception() or task.result())

        task.add_done_callback(finished)

    async def _append(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        if not self._locked_chats:
            try:
                waiting = partial(_append, schema=self._schema, batch=batch)
                return await self._pool.transact(waiting, begin=_BEGIN)
            except StillLocked:
                pass
        appending = partial(append_batch, schema=self._schema, batch=batch, lock=LOCK_FREE)
        return await self._pool.transact(appending)

    def close(self, done: Callable[[], None]) -> None:
        task = asyncio.create_task(self._pool.close())
        self._tasks.add(task)

        def closed(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            done()

        task.add_done_callback(closed)


async def _append(
    connection: Connection, schema: str, batch: Sequence[Append]
) -> Sequence[Outcome]:
    with waiting_in_bounds():
        return await append_batch(connection, schema, batch)
