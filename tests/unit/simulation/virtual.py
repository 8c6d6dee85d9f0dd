"""An event loop whose time passes only when no callback is ready."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class NothingWillHappen(AssertionError):
    """A deadlock: every task waits for another."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in the order asyncio promises, and jumps to the next timer when there are
    none. It reads no clock and no descriptor, so a run depends only on its code.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self
        # The due times are sums of floats, which may miss the time jumped to by a rounding error.
        self._clock_resolution = 1e-6
        self.unhandled: list[dict[str, Any]] = []

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> Sequence[object]:
        """The loop calls this where other loops wait for descriptors."""
        if timeout is None:
            raise NothingWillHappen
        self._now += max(timeout, 0.0)
        return ()

    def _process_events(self, events: Sequence[object]) -> None:
        pass

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.unhandled.append(context)


def run_now(step: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits, such as those of MemoryStore."""
    try:
        step.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    step.close()
    raise AssertionError(f"{step} waits")
