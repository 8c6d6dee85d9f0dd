"""Messages for chats that another transaction has locked, apart from all others.

A transaction of a host may hold a chat and its users for long. A batch that meets it leaves its
messages out, and they come here, where they delay only each other.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

from chatcore.errors import Overloaded, StoreUnavailable
from chatcore.model import Sent
from chatcore_sqlalchemy.group_commit import MAX_BATCH, MAX_WAITING, Append
from chatcore_sqlalchemy.postgres.batch import (
    LEFT_OUT,
    LOCK,
    LOCK_FREE,
    StillLocked,
    append_batch,
    lock_chats,
    waiting_in_bounds,
)
from chatcore_sqlalchemy.postgres.connection import Connection
from chatcore_sqlalchemy.postgres.pool import Pool
from chatcore_sqlalchemy.postgres.session import LOCK_SECONDS

TURN_MILLISECONDS = 100
"""How long one chat is waited for, while others may become free."""

MAX_HELD = 10_000

_BEGIN = f"BEGIN; SET LOCAL lock_timeout = {TURN_MILLISECONDS}"


class _Item(NamedTuple):
    append: Append
    outcome: asyncio.Future[Any]
    deadline: float


class LockedChats:
    """Appends messages to chats as soon as other transactions unlock them and their users.

    It waits for one chat, in turns, and then tries all that wait. The database serves waits in
    their order: tries alone could fail for ever while many transactions lock a chat.
    """

    def __init__(self, pool: Pool, schema: str) -> None:
        self._pool = pool
        self._schema = schema
        # Of each chat, in the order of their turns.
        self._waiting: dict[int, deque[_Item]] = {}
        self._count = 0
        # Chats that were not free when last tried.
        self._held: set[int] = set()
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    def __contains__(self, chat_id: int) -> bool:
        """Whether the next message of the chat must come here."""
        return chat_id in self._held or chat_id in self._waiting

    def __bool__(self) -> bool:
        """Whether messages wait here."""
        return bool(self._waiting)

    async def append(self, append: Append) -> Sent:
        """Append the message, as `ChatStore.append_message` promises. Raises StoreUnavailable, and
        has stored nothing, if the chat stays locked for LOCK_SECONDS."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._count >= MAX_WAITING:
            raise Overloaded("too many writes are waiting")
        loop = asyncio.get_running_loop()
        item = _Item(append, loop.create_future(), loop.time() + LOCK_SECONDS)
        self._waiting.setdefault(append.message.chat_id, deque()).append(item)
        self._count += 1
        if self._running is None:
            self._running = loop.create_task(self._run())
        outcome = await item.outcome
        if isinstance(outcome, Exception):
            raise outcome
        sent: Sent = outcome
        return sent

    async def close(self) -> None:
        """Fail what waits, and close the connection, even if the server does not answer. May be
        called again."""
        self._closed = True
        # First, since it bounds the attempt under way.
        await self._pool.close()
        if self._running is not None:
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        try:
            while self._waiting and not self._closed:
                free = await self._attempt(next(iter(self._waiting)))
                if not free:
                    await self._attempt(None)
                self._drop_late()
        finally:
            self._running = None
            for item in [*chain(*self._waiting.values())]:
                self._settle(item, StoreUnavailable("the store is closed"))

    async def _attempt(self, chat_id: int | None) -> bool:
        """Append the messages whose chats are free, after a wait for one of them. Returns False if
        that one did not become free in its turn; then nothing is appended."""
        items = list(islice(chain(*self._waiting.values()), MAX_BATCH))
        batch = [item.append for item in items]
        more = self._count > len(items)
        outcomes: Sequence[Any]
        try:
            if chat_id is None:
                appending = partial(append_batch, schema=self._schema, batch=batch, lock=LOCK_FREE)
                outcomes = await self._pool.transact(appending)
            else:
                waiting = partial(_append, schema=self._schema, batch=batch, chat_id=chat_id)
                outcomes = await self._pool.transact(waiting, begin=_BEGIN)
        except StillLocked:
            assert chat_id is not None  # noqa: S101 (for the type checker)
            self._hold(chat_id)
            self._move_back([chat_id])
            return False
        except Exception as error:
            outcomes = [_failure(error) for _ in items]
        for item, outcome in zip(items, outcomes, strict=True):
            if outcome is LEFT_OUT:
                self._hold(item.append.message.chat_id)
            else:
                self._held.discard(item.append.message.chat_id)
                self._settle(item, outcome)
        if more:
            # Others have the next turn.
            self._move_back(item.message.chat_id for item in batch)
        return True

    def _hold(self, chat_id: int) -> None:
        if len(self._held) >= MAX_HELD:
            self._held.clear()
        self._held.add(chat_id)

    def _move_back(self, chat_ids: Iterable[int]) -> None:
        for chat_id in chat_ids:
            if waiting := self._waiting.pop(chat_id, None):
                self._waiting[chat_id] = waiting

    def _drop_late(self) -> None:
        now = asyncio.get_running_loop().time()
        for item in [*chain(*self._waiting.values())]:
            if item.outcome.done():
                # The caller was cancelled.
                self._settle(item, None)
            elif now >= item.deadline:
                late = "another transaction has locked the chat or one of its users"
                self._settle(item, StoreUnavailable(late))

    def _settle(self, item: _Item, outcome: Any) -> None:
        chat_id = item.append.message.chat_id
        waiting = self._waiting[chat_id]
        waiting.remove(item)
        self._count -= 1
        if not waiting:
            del self._waiting[chat_id]
        if not item.outcome.done():
            item.outcome.set_result(outcome)


async def _append(
    connection: Connection, schema: str, batch: Sequence[Append], chat_id: int
) -> Sequence[Any]:
    with waiting_in_bounds():
        await lock_chats(connection, schema, [chat_id], LOCK)
        return await append_batch(connection, schema, batch, LOCK_FREE)


def _failure(cause: Exception) -> StoreUnavailable:
    # One exception per item: a shared one would grow its traceback in every task.
    failure = StoreUnavailable(str(cause))
    failure.__cause__ = cause
    return failure
