"""A policy that answers what a test tells it."""

import asyncio
from typing import Any

from chatcore import Actor, Allow, Draft, User


class ScriptedPolicy:
    """Records every question, thinks for `seconds`, and gives the answers `opening` and `sending`:
    an answer, or an exception to raise."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Allow everything, at once, and forget the questions."""
        self.opening: Any = Allow()
        self.sending: Any = Allow()
        self.seconds = 0.0
        self.openings: list[tuple[User, User, Actor]] = []
        self.drafts: list[Draft] = []
        self.cancelled = 0

    async def may_open(self, user: User, peer: User, actor: Actor) -> Any:
        self.openings.append((user, peer, actor))
        return await self._give(self.opening)

    async def may_send(self, draft: Draft) -> Any:
        self.drafts.append(draft)
        return await self._give(self.sending)

    async def _give(self, answer: Any) -> Any:
        try:
            if self.seconds:
                await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(answer, BaseException):
            raise answer
        return answer
