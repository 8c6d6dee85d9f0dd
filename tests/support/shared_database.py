"""The clock and the nodes of a database that several services share, without a database."""

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta

from chatcore import StoreUnavailable
from chatcore.model import to_microseconds
from chatcore.testing import VirtualClock


class SharedDatabase:
    """What `as_node` needs of a store. Its time is `true`, moved by `jumped`."""

    def __init__(self, true: VirtualClock) -> None:
        self.true = true
        self.jumped = timedelta(0)
        self.answer_seconds = 0.0
        """How long the database takes to tell its time, which it reads at the end."""
        self.fails = False
        self.seen: dict[str, frozenset[str]] = {}
        """The digests of each running node."""
        self.questions = 0

    async def time_us(self) -> int | None:
        self.questions += 1
        if self.fails:
            raise StoreUnavailable("the database is away")
        self.true.advance(timedelta(seconds=self.answer_seconds))
        return to_microseconds(self.true() + self.jumped)

    async def see_node(
        self, node_id: str, digests_of: Callable[[str], Collection[str]], now_us: int
    ) -> int | None:
        await asyncio.sleep(0)
        digests = frozenset(digests_of("store"))
        if any(digests.isdisjoint(it) for node, it in self.seen.items() if node != node_id):
            return now_us - 40_000_000
        self.seen[node_id] = digests
        return None

    async def drop_node(self, node_id: str) -> None:
        if self.fails:
            raise StoreUnavailable("the database is away")
        self.seen.pop(node_id, None)
