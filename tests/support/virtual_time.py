"""An event loop whose clock jumps to the next timer when every task waits: hours take no time."""

import asyncio
import selectors
from typing import Any

A_DAY = 24 * 60 * 60.0
"""Longer than any test waits: an endless wait ends with an error instead of a hang."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Impatient(self))

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def timers(self) -> int:
        """The number of pending timers."""
        return sum(not handle.cancelled() for handle in self._scheduled)  # type: ignore[attr-defined]


class _Impatient(selectors.SelectSelector):
    """A selector that never waits: it advances the clock of its loop."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None or self._loop.time() + timeout > A_DAY:
                raise RuntimeError("every task waits, and no timer is left")
            self._loop.advance(timeout)
        return ready


BACKEND = "asyncio", {"loop_factory": VirtualTimeLoop}
"""The `anyio_backend` of the unit tests that are marked `virtual_time`."""


def virtual_loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop
