"""Counters for the metrics, cheap enough to run on every request and read only by a scrape."""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import Any, TypeVar

from chatcore import Overloaded
from chatcore.ports import Doorbell, PasswordHasher
from chatcore_litestar.streams import LONG_RUNNING
from chatcore_server.observe.request_log import ASGIApp, Message, Receive, Scope, Send

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the latency buckets, in seconds."""

T = TypeVar("T")

_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}

Labels = tuple[str, str, int]
"""The route's template, the method, and the status. An unknown route is "none", an unknown method
"other", a request without an answer 0: invented paths and methods add no labels."""


class Cell:
    """The requests that share labels."""

    __slots__ = ("buckets", "number", "seconds")

    def __init__(self) -> None:
        self.number = 0
        self.buckets = [0] * (len(BOUNDS) + 1)
        """Requests per bucket: longer than the bound before, at most the bound. Requests that wait
        for events are left out."""
        self.seconds = 0.0


class Requests:
    """Counts the requests of an application, by labels."""

    def __init__(self) -> None:
        self.cells: dict[Labels, Cell] = {}

    def counted(self, app: ASGIApp) -> ASGIApp:
        """Wrap the application so that its requests are counted."""

        async def counting(scope: Scope, receive: Receive, send: Send) -> None:
            status = 0

            # A plain function saves a coroutine for each message.
            def noting_send(message: Message) -> Any:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                return send(message)

            started = perf_counter()
            try:
                await app(scope, receive, noting_send)
            finally:
                if scope["type"] == "http":
                    self._count(scope, status, perf_counter() - started)

        return counting

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        labels = scope.get("path_template", "none"), method, status
        if (cell := self.cells.get(labels)) is None:
            cell = self.cells[labels] = Cell()
        cell.number += 1
        if LONG_RUNNING not in scope:
            cell.buckets[bisect_left(BOUNDS, seconds)] += 1
            cell.seconds += seconds


class CountedDoorbell:
    """Counts the rings of a Doorbell."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self.rings = 0

    def ring(self, user_ids: Iterable[int]) -> None:
        self.rings += 1
        self._doorbell.ring(user_ids)

    def listen(self, user_id: int, wake: Callable[[], None]) -> Callable[[], None]:
        return self._doorbell.listen(user_id, wake)


class CountedHasher:
    """Counts the calls of a PasswordHasher."""

    def __init__(self, hasher: PasswordHasher) -> None:
        self._hasher = hasher
        self.waiting = 0
        """Calls under way now, queued or being hashed."""
        self.done = 0
        self.refused = 0

    async def hash(self, password: str) -> str:
        return await self._counted(self._hasher.hash(password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        return await self._counted(self._hasher.verify(password, password_hash))

    def needs_rehash(self, password_hash: str) -> bool:
        return self._hasher.needs_rehash(password_hash)

    async def _counted(self, work: Awaitable[T]) -> T:
        self.waiting += 1
        try:
            outcome = await work
        except Overloaded:
            self.refused += 1
            raise
        finally:
            self.waiting -= 1
        self.done += 1
        return outcome
