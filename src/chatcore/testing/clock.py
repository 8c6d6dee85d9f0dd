"""Time that moves when a test says so: a clock, and an event loop on it."""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

A_DAY = 24 * 60 * 60.0
"""Longer than any test waits: an endless wait ends with an error instead of a hang."""


class VirtualClock:
    """A wall clock and a monotonic clock that only a test moves.

    The object is a `chatcore.Clock`; its `seconds` are for parts that take a clock that never
    steps back, such as `Guard(seconds=…)`.
    """

    def __init__(self, now: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self.now = now
        """The wall clock, an aware datetime. Set it to let the wall clock alone step."""
        self.passed = 0.0
        """The seconds that have passed."""

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.passed

    def advance(self, duration: timedelta) -> None:
        """Move both clocks forward."""
        self.now += duration
        self.passed += duration.total_seconds()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on a VirtualClock: when every task waits, the clock jumps to the next timer,
    so hours take no time.

    Only tasks of this loop are waited for, no thread, process or socket. Raises RuntimeError when
    every task waits and no timer is due within a day of the start.
    """

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self._end = self.clock.passed + A_DAY
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.clock.passed

    def jump(self, seconds: float | None) -> None:
        """Move the clock to the next timer, which is due after `seconds`; None if there is none.
        The loop calls it."""
        if seconds is None or self.clock.passed + seconds > self._end:
            raise RuntimeError(
                "every task waits, and no timer of the next day is left; virtual time waits for no "
                "thread, process or socket"
            )
        # Not by `advance`, which rounds to microseconds: the timer might never be due.
        self.clock.passed += seconds
        self.clock.now += timedelta(seconds=seconds)


class _JumpingSelector(selectors.SelectSelector):
    """A selector that never waits: it moves the clock of its loop."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            self._loop.jump(timeout)
        return ready


def run_in_virtual_time(main: Coroutine[Any, Any, T], clock: VirtualClock | None = None) -> T:
    """Run the coroutine as `asyncio.run` does, on a VirtualTimeLoop of the clock, and return its
    result."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(clock)) as runner:
        return runner.run(main)
