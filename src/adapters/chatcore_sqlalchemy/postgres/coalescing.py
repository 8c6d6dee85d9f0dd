"""One question for many callers: whether what is remembered is still up to date.

Every page and list that is remembered asks for one number first. Many clients do so at the same
time, and to PostgreSQL a statement about one id costs nearly what one about sixty does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import Executable

from chatcore.errors import Unavailable
from chatcore_sqlalchemy.postgres.connection import Row
from chatcore_sqlalchemy.queries.chats import NEWEST_ACTIVITY
from chatcore_sqlalchemy.queries.messages import LAST_SEQ

# Each tells an id and a number, for the ids that have one.
LAST_SEQS = "SELECT id, last_seq FROM chats WHERE id = ANY($1::bigint[])"
NEWEST_ACTIVITIES = """
SELECT wanted.id, coalesce(greatest(
    (SELECT max(activity) FROM chats WHERE lo_id = wanted.id),
    (SELECT max(activity) FROM chats WHERE hi_id = wanted.id)), 0)
FROM unnest($1::bigint[]) AS wanted (id)
"""

COALESCED: dict[Executable, str] = {
    LAST_SEQ: LAST_SEQS,
    NEWEST_ACTIVITY: NEWEST_ACTIVITIES,
}
"""What is asked instead of these, which are about one id."""

Ask = Callable[[Sequence[int]], Awaitable[Sequence[Row]]]


class CoalescedLookup:
    """While one question is under way, those who come gather for the next: nobody gets an answer
    to what was asked before they came."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._waiting: dict[int, asyncio.Future[list[tuple[int]]]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def rows(self, wanted: int) -> list[tuple[int]]:
        """A row with the number of this id, or none. Raises what asking raises."""
        loop = asyncio.get_running_loop()
        answer = self._waiting.get(wanted)
        if answer is None:
            answer = self._waiting[wanted] = loop.create_future()
        if self._asking is None:
            self._asking = loop.create_task(self._ask_for_all())
        # Others may wait for the same.
        return await asyncio.shield(answer)

    async def _ask_for_all(self) -> None:
        try:
            while self._waiting:
                answers, self._waiting = self._waiting, {}
                await self._answer(answers)
        finally:
            self._asking = None

    async def _answer(self, answers: dict[int, "asyncio.Future[list[tuple[int]]]"]) -> None:
        try:
            found: dict[int, int] = {row[0]: row[1] for row in await self._ask(list(answers))}
        except Unavailable as error:
            for answer in answers.values():
                # One for each: raised in many tasks, a shared one would grow its traceback.
                failure = type(error)(*error.args)
                failure.__cause__ = error
                answer.set_exception(failure)
                # Whoever asked may have left.
                answer.exception()
        except BaseException:
            for answer in answers.values():
                answer.cancel()
            raise
        else:
            for wanted, answer in answers.items():
                answer.set_result([(found[wanted],)] if wanted in found else [])
