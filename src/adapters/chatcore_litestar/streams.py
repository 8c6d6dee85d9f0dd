"""Open event streams and long polls, and how they end."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from litestar.types import Receive

from chatcore import Event, Overloaded
from chatcore.following import Following

LONG_RUNNING = "chatcore.long_running"
"""A scope key. Slow by design: keep this request out of the slow-request log and latencies."""

DISCONNECTED = "disconnected"
REPLACED = "replaced"
SHUTDOWN = "shutdown"
VOID = "void"


class Listener:
    """A request that waits for events: a stream or a long poll."""

    __slots__ = ("_waiting", "ended", "session_id")

    def __init__(self, session_id: str | None) -> None:
        self.session_id = session_id
        """The device session of its token; None if there is none."""
        self.ended: str | None = None
        """The reason to end, once there is one."""
        self._waiting: asyncio.Timeout | None = None

    def end(self, reason: str) -> None:
        """Stop waiting and end. Only the first reason counts."""
        if self.ended is None:
            self.ended = reason
            if self._waiting is not None:
                self._waiting.reschedule(asyncio.get_running_loop().time())

    async def batch(self, following: Following, seconds: float) -> Sequence[Event]:
        """Wait for the next events. Empty after `seconds` without events, or if it has to end."""
        if self.ended is not None:
            return ()
        try:
            # `end` interrupts only the wait for events, never a send.
            async with asyncio.timeout(None) as self._waiting:
                return await following.batch(seconds)
        except TimeoutError:
            return ()
        finally:
            self._waiting = None


class Streams:
    """The open streams and long polls of one `chat_router` or `create_app`.

    A server that stops must call `end_all` before it waits for requests to finish. Lifespan
    shutdown is too late on servers that wait first, such as uvicorn.

    A stream sends a heartbeat after `heartbeat_seconds` of silence. It ends after
    `max_age_seconds` or up to a fifth earlier, so that clients that connected together do not
    reconnect together. A user may have `per_user` streams and long polls at once. One more ends
    the oldest: that may be a connection that broke unnoticed, while the newest is in use.
    """

    def __init__(
        self,
        *,
        heartbeat_seconds: float = 15,
        max_age_seconds: float = 3600,
        per_user: int = 20,
    ) -> None:
        self.heartbeat_seconds = heartbeat_seconds
        self._max_age_seconds = max_age_seconds
        self._per_user = per_user
        self._closed = False
        self._of_user: dict[int, dict[Listener, None]] = {}
        """The listeners of each user id, oldest first."""

    @property
    def closed(self) -> bool:
        """Whether `end_all` was called."""
        return self._closed

    @property
    def under_way(self) -> int:
        """The number of open streams and long polls."""
        return sum(map(len, self._of_user.values()))

    def end_all(self) -> None:
        """End every stream and long poll cleanly; answer later ones with 503. Call it on the
        event loop. A second call has no effect."""
        self._closed = True
        for listeners in self._of_user.values():
            for listener in listeners:
                listener.end(SHUTDOWN)

    def end_of(self, user_id: int) -> None:
        """End the user's streams and long polls, because their tokens were revoked."""
        for listener in self._of_user.get(user_id, ()):
            listener.end(VOID)

    def end_of_session(self, user_id: int, session_id: str) -> None:
        """End the streams and long polls of a device session of the user, because it ended."""
        for listener in self._of_user.get(user_id, ()):
            if listener.session_id == session_id:
                listener.end(VOID)

    def lifetime(self) -> float:
        """Choose the maximum age of a new stream, in seconds."""
        return self._max_age_seconds * random.uniform(0.8, 1)  # noqa: S311, no secret

    @contextmanager
    def listener(self, user_id: int, session_id: str | None = None) -> Iterator[Listener]:
        """Register a stream or long poll of the user, on this device session. Raises Overloaded
        after `end_all`."""
        if self._closed:
            raise Overloaded
        listeners = self._of_user.setdefault(user_id, {})
        if len(listeners) >= self._per_user:
            oldest = next(iter(listeners))
            del listeners[oldest]
            oldest.end(REPLACED)
        listener = Listener(session_id)
        listeners[listener] = None
        try:
            yield listener
        finally:
            listeners.pop(listener, None)
            if not listeners and self._of_user.get(user_id) is listeners:
                del self._of_user[user_id]


@contextmanager
def ending_on_disconnect(listener: Listener, receive: Receive) -> Iterator[None]:
    """End the listener as soon as the client disconnects."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    def left(watching: "asyncio.Task[None]") -> None:
        if not watching.cancelled():
            # An error of `receive` means the same; asyncio would report it if not retrieved.
            watching.exception()
            listener.end(DISCONNECTED)

    watching = asyncio.create_task(watch())
    watching.add_done_callback(left)
    try:
        yield
    finally:
        watching.cancel()
