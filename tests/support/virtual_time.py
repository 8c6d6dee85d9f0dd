"""Virtual time in the tests of this repository."""

import asyncio

from chatcore.testing import VirtualTimeLoop

BACKEND = "asyncio", {"loop_factory": VirtualTimeLoop}
"""The `anyio_backend` of the unit tests that are marked `virtual_time`."""


def pending_timers() -> int:
    """The number of pending timers of the running loop, which has virtual time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return sum(not handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]
