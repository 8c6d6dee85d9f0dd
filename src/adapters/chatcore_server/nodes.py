"""What the nodes of one PostgreSQL database must agree on: their keys, and their clocks."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Protocol

from chatcore import Unavailable
from chatcore.model import Seconds, elapsed
from chatcore_server.clock import REPEAT_SECONDS, ClockLog, NodeClock, too_far
from chatcore_server.settings import CannotStart

EVERY_SECONDS = 60.0
"""How often a running node compares, a third of the time for which others remember it."""

STOP_SECONDS = 1.0
"""How long a node that stops waits for the database to forget it."""

DigestsOf = Callable[[str], Collection[str]]

logger = logging.getLogger("chatcore")


class Nodes(Protocol):
    """What the store knows of its nodes. `SqlAlchemyStore` implements it."""

    async def time_us(self) -> int | None: ...

    async def see_node(self, node_id: str, digests_of: DigestsOf, now_us: int) -> int | None: ...

    async def drop_node(self, node_id: str) -> None: ...


@asynccontextmanager
async def as_node(
    nodes: Nodes,
    digests_of: DigestsOf | None,
    clock: NodeClock,
    *,
    seconds: Seconds = elapsed,
) -> AsyncIterator[None]:
    """Within this context, the process is a node of the database: `clock` follows the database's,
    and nodes whose keys differ refuse to start.

    `digests_of` takes the name of the store and returns a digest for each key; None for a node
    without keys. Raises CannotStart if the keys differ from those of a running node, or the clock
    from the database's. In a running node, both are logged.
    """
    node = _Node(nodes, digests_of, clock, seconds)
    await node.start()
    comparing = asyncio.create_task(node.compare_repeatedly())
    try:
        yield
    finally:
        comparing.cancel()
        await asyncio.wait([comparing])
        await node.stop()


class _Node:
    def __init__(
        self, nodes: Nodes, digests_of: DigestsOf | None, clock: NodeClock, seconds: Seconds
    ) -> None:
        self._nodes = nodes
        self._digests_of = digests_of
        self._clock = clock
        self._clock_log = ClockLog(seconds)
        self._seconds = seconds
        self._id = secrets.token_hex(8)
        self._keys_logged: float | None = None

    async def start(self) -> None:
        try:
            ahead = await self._clock.compare(self._nodes.time_us)
            if (reason := too_far(ahead)) is not None:
                raise CannotStart(reason)
            self._clock_log.compared(ahead)
            if (reason := await self._strangers()) is not None:
                raise CannotStart(
                    f"{reason}: give all nodes one secret (new:KEY,old:KEY while it changes), or "
                    "stop the others first; one that crashed counts for 3 minutes"
                )
        except Unavailable as error:
            logger.warning(
                "keys and clocks cannot be compared with those of other nodes: %s; the next "
                "attempt is in a minute",
                error,
            )

    async def compare_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                self._clock_log.compared(await self._clock.compare(self._nodes.time_us))
                self._log_strangers(await self._strangers())
            except Unavailable:
                # The requests log an outage.
                pass
            except Exception:
                logger.exception("comparing with other nodes failed; the next try is in a minute")

    async def stop(self) -> None:
        if self._digests_of is not None:
            # A node that the database cannot forget now counts as running for 3 minutes.
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._nodes.drop_node(self._id)

    async def _strangers(self) -> str | None:
        """Record this node, or say in one line why its keys keep it from being one."""
        now_us = await self._nodes.time_us() if self._digests_of else None
        if self._digests_of is None or now_us is None:
            return None
        seen_us = await self._nodes.see_node(self._id, self._digests_of, now_us)
        if seen_us is None:
            return None
        seconds = max(0, now_us - seen_us) // 1_000_000
        return (
            "CHATCORE_SECRET has no key in common with another node of this database, seen "
            f"{seconds} seconds ago"
        )

    def _log_strangers(self, reason: str | None) -> None:
        now = self._seconds()
        if reason is None:
            self._keys_logged = None
        elif self._keys_logged is None or now - self._keys_logged >= REPEAT_SECONDS:
            self._keys_logged = now
            logger.error("%s: each refuses the tokens of the other", reason)
