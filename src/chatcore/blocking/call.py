"""One call on an event loop of another thread."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Call(Generic[T]):
    """A coroutine on the loop, and the thread that waits for it."""

    __slots__ = ("_begun", "_cancelled", "_ended", "_function", "_loop", "_task", "endless")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, function: Callable[[], Awaitable[T]], endless: bool
    ) -> None:
        self.endless = endless
        self._loop = loop
        self._function = function
        self._task: asyncio.Task[T] | None = None
        self._begun = self._cancelled = False
        # Locked until the coroutine has ended: the cheapest way to wait that a signal interrupts.
        self._ended = threading.Lock()
        self._ended.acquire()

    def begin(self, may_begin: bool) -> asyncio.Task[T] | None:
        """Start the coroutine, unless it was started or cancelled before. Called on the loop."""
        if self._begun:
            return None
        self._begun = True
        if self._cancelled or not may_begin:
            self._ended.release()
            return None
        self._task = self._loop.create_task(_awaited(self._function))
        self._task.add_done_callback(self._end)
        return self._task

    def wait(self) -> None:
        """Wait for the end of the coroutine."""
        with self._ended:
            pass

    def cancel(self) -> None:
        """Cancel the coroutine, also before it begins, from any thread. Does not wait for it."""
        self._cancelled = True
        with suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(self._cancel)

    def result(self) -> T:
        """Return what the coroutine returned; raise what it raised. Call it after `wait`."""
        if self._task is None:
            raise asyncio.CancelledError
        try:
            return self._task.result()
        finally:
            # The traceback of an exception refers to this frame, and the task to the exception.
            del self

    def _end(self, _: object) -> None:
        self._ended.release()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


async def _awaited(function: Callable[[], Awaitable[T]]) -> T:
    # No method of Call: the traceback of an exception refers to this frame, too.
    return await function()
