"""Who is listening over HTTP, and what ends it."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from litestar.types import Receive

from chatcore import Event, Overloaded
from chatcore.following import Following

LONG_RUNNING = "chatcore.long_running"
"""In the scope of a request that is slow by design: keep it out of the slow-request log."""

GONE = "gone"
REPLACED = "replaced"
SHUTDOWN = "shutdown"
VOID = "void"


class Listener:
    """One request that waits for events: a stream or a long poll."""

    __slots__ = ("_waiting", "ended")

    def __init__(self) -> None:
        self.ended: str | None = None
        """Why it is to end, once it is."""
        self._waiting: asyncio.Timeout | None = None

    def end(self, why: str) -> None:
        """Let it end, for the first reason that it is given, and wait no longer."""
        if self.ended is None:
            self.ended = why
            if self._waiting is not None:
                self._waiting.reschedule(asyncio.get_running_loop().time())

    async def batch(self, following: Following, seconds: float) -> Sequence[Event]:
        """The next events; none when it ends, or after so many seconds without any."""
        if self.ended is not None:
            return ()
        try:
            # Only the wait for events is broken off, never a send.
            async with asyncio.timeout(None) as self._waiting:
                return await following.batch(seconds)
        except TimeoutError:
            return ()
        finally:
            self._waiting = None


class Streams:
    """The streams and long polls under way in one `chat_router` or `create_app`.

    Whoever runs a server calls `end_all` when it is told to stop, before it waits for requests
    to finish. Lifespan shutdown is too late on servers that wait first, as uvicorn does.

    A stream says that it is alive after `heartbeat_seconds` of silence, and ends after
    `max_age_seconds`, or up to a fifth sooner, so that those who came together do not come
    back together. A user may have `per_user` streams and long polls at once. One more ends the
    oldest, not itself: the oldest may be a connection that broke unnoticed, and the newest is
    where the user is.
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
        """Each user's, the oldest first."""

    @property
    def closed(self) -> bool:
        """Whether `end_all` was called."""
        return self._closed

    @property
    def under_way(self) -> int:
        """How many there are."""
        return sum(map(len, self._of_user.values()))

    def end_all(self) -> None:
        """End every stream and long poll now, properly, and refuse those to come with 503. To
        be called on the event loop; again, it does nothing."""
        self._closed = True
        for listeners in self._of_user.values():
            for listener in listeners:
                listener.end(SHUTDOWN)

    def end_of(self, user_id: int) -> None:
        """End the user's streams and long polls now, for their tokens are void."""
        for listener in self._of_user.get(user_id, ()):
            listener.end(VOID)

    def lifetime(self) -> float:
        """How long a stream that begins now may last, in seconds."""
        return self._max_age_seconds * random.uniform(0.8, 1)  # noqa: S311, no secret

    @contextmanager
    def listener(self, user_id: int) -> Iterator[Listener]:
        """Raises Overloaded after `end_all`."""
        if self._closed:
            raise Overloaded
        listeners = self._of_user.setdefault(user_id, {})
        if len(listeners) >= self._per_user:
            oldest = next(iter(listeners))
            del listeners[oldest]
            oldest.end(REPLACED)
        made = Listener()
        listeners[made] = None
        try:
            yield made
        finally:
            listeners.pop(made, None)
            if not listeners and self._of_user.get(user_id) is listeners:
                del self._of_user[user_id]


@contextmanager
def ending_when_gone(listener: Listener, receive: Receive) -> Iterator[None]:
    """The client's leaving ends the listener at once."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    def left(watching: "asyncio.Task[None]") -> None:
        if not watching.cancelled():
            # What `receive` may raise means the same, and would be reported as never looked at.
            watching.exception()
            listener.end(GONE)

    watching = asyncio.create_task(watch())
    watching.add_done_callback(left)
    try:
        yield
    finally:
        watching.cancel()
