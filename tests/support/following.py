"""Stores and doorbells that record their calls and can fail, for tests of following."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence

from chatcore import Cursor, LocalDoorbell, StoreUnavailable
from chatcore.events import Entry
from chatcore_memory import MemoryStore


class WatchedStore(MemoryStore):
    """Records its reads, takes `turns` of the event loop before and after each read, and fails
    the next `failures` reads."""

    def __init__(self) -> None:
        super().__init__()
        self.readings: list[int] = []
        self.turns = 0
        self.failures = 0

    async def end_of_log(self, user_id: int) -> Cursor:
        await self._trouble()
        end = await super().end_of_log(user_id)
        await self._pause()
        return end

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        await self._trouble()
        found = await super().events_after(after, limit=limit)
        self.readings.append(limit)
        await self._pause()
        return found

    async def _trouble(self) -> None:
        await self._pause()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable

    async def _pause(self) -> None:
        for _ in range(self.turns):
            await asyncio.sleep(0)


class WatchedDoorbell(LocalDoorbell):
    """Counts its listeners, and records its rings."""

    def __init__(self) -> None:
        super().__init__()
        self.listening = 0
        self.rung: list[int] = []

    def ring(self, user_ids: Iterable[int]) -> None:
        user_ids = tuple(user_ids)
        self.rung += user_ids
        super().ring(user_ids)

    def listen(self, user_id: int, wake: Callable[[], None]) -> Callable[[], None]:
        self.listening += 1
        leave = super().listen(user_id, wake)

        def leave_once() -> None:
            self.listening -= 1
            leave()

        return leave_once


class BadDoorbell(LocalDoorbell):
    """Loses 90% of its rings, doubles some of the others, and delays most."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def ring(self, user_ids: Iterable[int]) -> None:
        loop = asyncio.get_running_loop()
        for user_id in user_ids:
            if self._random.random() < 0.9:
                continue
            for _ in range(self._random.choice((1, 1, 2))):
                late = self._random.choice((0.0, 0.3, 20.0))
                loop.call_later(late, super().ring, (user_id,))
