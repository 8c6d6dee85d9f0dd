"""Virtual clocks, and event loops on them."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatcore import Messenger, User
from chatcore.testing import VirtualClock, run_in_virtual_time
from chatcore_memory import MemoryStore

HOUR = timedelta(hours=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_clock_moves_only_when_told() -> None:
    clock = VirtualClock(NOW)
    assert (clock(), clock(), clock.seconds()) == (NOW, NOW, 0.0)
    clock.advance(HOUR)
    assert (clock(), clock.seconds()) == (NOW + HOUR, 3600.0)


def test_wall_clock_alone_can_step_back() -> None:
    clock = VirtualClock(NOW)
    clock.now -= HOUR
    assert (clock(), clock.seconds()) == (NOW - HOUR, 0.0)


def test_sleeping_moves_the_clock_and_takes_no_time() -> None:
    clock = VirtualClock(NOW)

    async def sleepers() -> datetime:
        await asyncio.gather(*(asyncio.sleep(n * 3600.0) for n in range(10)))
        return clock()

    assert run_in_virtual_time(sleepers(), clock) == NOW + 9 * HOUR


def test_advancing_the_clock_makes_timers_due() -> None:
    clock = VirtualClock(NOW)

    async def timer() -> datetime:
        due = asyncio.Event()
        asyncio.get_running_loop().call_later(3600, due.set)
        clock.advance(2 * HOUR)
        await due.wait()
        return clock()

    assert run_in_virtual_time(timer(), clock) == NOW + 2 * HOUR


def test_short_timers_end() -> None:
    clock = VirtualClock(NOW)

    async def sleeper() -> None:
        for _ in range(100):
            await asyncio.sleep(1e-7 / 3)

    run_in_virtual_time(sleeper(), clock)
    assert clock.seconds() == pytest.approx(1e-5 / 3, rel=0.01)


async def forever() -> None:
    await asyncio.Event().wait()


async def polling() -> None:
    async for _ in Messenger(MemoryStore()).follow(User(1, "ann", "Ann")):
        pass


@pytest.mark.parametrize("endless", [forever, polling])
def test_an_endless_wait_is_an_error(endless: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with pytest.raises(RuntimeError, match="every task waits"):
        run_in_virtual_time(endless())
