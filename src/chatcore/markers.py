"""Moves read markers, at a pace that cannot flood anyone's log."""

import asyncio
from dataclasses import dataclass

from chatcore.model import Clock, to_microseconds
from chatcore.ports import ChatStore

SECONDS_APART = 1.0
MAX_PACES = 10_000


@dataclass(slots=True)
class _Pace:
    marker: int = -1
    wanted: int = 0
    moved_at: float = float("-inf")


class Markers:
    """At most one move a second of one user's marker in one chat: who asks sooner waits, and
    all who wait are served by one move, to the newest of what they asked for."""

    def __init__(self, store: ChatStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._paces: dict[tuple[int, int], _Pace] = {}

    async def move(self, chat_id: int, user_id: int, seq: int) -> int:
        """The marker after the move. Raises as `ChatStore.move_read_marker` does."""
        pace = self._pace(chat_id, user_id)
        pace.wanted = max(pace.wanted, seq)
        loop = asyncio.get_running_loop()
        while pace.marker < seq:
            early = pace.moved_at + SECONDS_APART - loop.time()
            if early > 0:
                await asyncio.sleep(early)
                continue
            pace.moved_at = loop.time()
            wanted, pace.wanted = max(pace.wanted, seq), 0
            now = to_microseconds(self._clock())
            marker = await self._store.move_read_marker(chat_id, user_id, wanted, now)
            pace.marker = max(pace.marker, marker)
            break
        return pace.marker

    def _pace(self, chat_id: int, user_id: int) -> _Pace:
        pace = self._paces.get((chat_id, user_id))
        if pace is None:
            if len(self._paces) >= MAX_PACES:
                # The oldest entry, since dictionaries keep their order.
                del self._paces[next(iter(self._paces))]
            pace = self._paces[chat_id, user_id] = _Pace()
        return pace
