"""An event loop on which time passes only while nothing else is left to do."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class NothingWillHappen(AssertionError):
    """Every task waits for another."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in the order asyncio promises, and jumps to the next timer when there are
    none. It reads no clock and no descriptor, so that a run depends on nothing but its code.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self
        # Timers fall due at sums of floats, which may miss the time jumped to by a hair.
        self._clock_resolution = 1e-6
        self.unhandled: list[dict[str, Any]] = []

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> Sequence[object]:
        """What the loop calls where others wait for descriptors."""
        if timeout is None:
            raise NothingWillHappen
        self._now += max(timeout, 0.0)
        return ()

    def _process_events(self, events: Sequence[object]) -> None:
        pass

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.unhandled.append(context)


def run_now(step: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, as those of MemoryStore."""
    try:
        step.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    step.close()
    raise AssertionError(f"{step} waits")
