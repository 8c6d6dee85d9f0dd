"""An event loop in a thread of its own, and objects that live on it."""

import asyncio
import threading
from collections.abc import Coroutine
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Self, TypeVar, cast

T = TypeVar("T")


class LoopThread:
    """Runs coroutines on an event loop of its own, for fixtures that are not asynchronous, and for
    tests on any other event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self.loop.run_forever, name="chatcore-pytest", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of the coroutine, on this loop. Blocks the caller."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def reachable(self, target: T) -> T:
        """Return an object whose coroutine methods may be awaited on any event loop, and run on
        this one. Its other attributes are those of the target."""
        return cast(T, _Reachable(target, self.loop))


class _Reachable:
    def __init__(self, target: object, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not iscoroutinefunction(found):
            return found

        @wraps(found)
        async def call(*args: Any, **named: Any) -> Any:
            work = found(*args, **named)
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

        return call
