"""Coalesces the lookups that check whether cached pages are current.

Each cached page or list needs one number first. Many clients ask at the same time, and to
PostgreSQL a statement about one id costs nearly as much as one about sixty.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import Executable

from chatcore.errors import Unavailable
from chatcore_sqlalchemy.postgres.connection import Row
from chatcore_sqlalchemy.queries.chats import NEWEST_ACTIVITY
from chatcore_sqlalchemy.queries.messages import LAST_SEQ

# Each returns an id and a number, for those of the ids that have one.
LAST_SEQS = "SELECT id, last_seq FROM {schema}.chats WHERE id = ANY($1::bigint[])"
NEWEST_ACTIVITIES = """
SELECT wanted.id, coalesce(greatest(
    (SELECT max(activity) FROM {schema}.chats WHERE lo_id = wanted.id),
    (SELECT max(activity) FROM {schema}.chats WHERE hi_id = wanted.id)), 0)
FROM unnest($1::bigint[]) AS wanted (id)
"""

COALESCED: dict[Executable, str] = {
    LAST_SEQ: LAST_SEQS,
    NEWEST_ACTIVITY: NEWEST_ACTIVITIES,
}
"""The queries about many ids, by the statements about one id that they replace, for
`in_schema`."""

LookUp = Callable[[Sequence[int]], Awaitable[Sequence[Row]]]


class CoalescedLookup:
    """Looks up numbers by id: callers that arrive during a query share the next one, so no caller
    gets a number from before its call."""

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._waiting: dict[int, asyncio.Future[list[tuple[int]]]] = {}
        self._running: asyncio.Task[None] | None = None

    async def rows(self, wanted: int) -> list[tuple[int]]:
        """A row with the number of this id, or no row. Raises what the query raises."""
        loop = asyncio.get_running_loop()
        answer = self._waiting.get(wanted)
        if answer is None:
            answer = self._waiting[wanted] = loop.create_future()
        if self._running is None:
            self._running = loop.create_task(self._run())
        # Shielded: other callers may wait for the same answer.
        return await asyncio.shield(answer)

    async def _run(self) -> None:
        try:
            while self._waiting:
                answers, self._waiting = self._waiting, {}
                await self._answer(answers)
        finally:
            self._running = None

    async def _answer(self, answers: dict[int, "asyncio.Future[list[tuple[int]]]"]) -> None:
        try:
            found: dict[int, int] = {row[0]: row[1] for row in await self._look_up(list(answers))}
        except Unavailable as error:
            for answer in answers.values():
                # One exception per answer: a shared one would grow its traceback in every task.
                failure = type(error)(*error.args)
                failure.__cause__ = error
                answer.set_exception(failure)
                # Retrieved here, because the caller may have been cancelled.
                answer.exception()
        except BaseException:
            for answer in answers.values():
                answer.cancel()
            raise
        else:
            for wanted, answer in answers.items():
                answer.set_result([(found[wanted],)] if wanted in found else [])
