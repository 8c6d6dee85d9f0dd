"""How a check judges. Not by `assert`, which `python -O` drops."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from chatcore.errors import Refused

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which a call that does not return counts as one that never will."""


def expect(condition: object, promise: str) -> None:
    """Raise AssertionError, with the promise that was broken, unless the condition holds."""
    if not condition:
        raise AssertionError(promise)


def expect_equal(found: object, wanted: object, promise: str) -> None:
    expect(found == wanted, f"{promise}: {found!a:.300} instead of {wanted!a:.300}")


@contextmanager
def accepted(what: str) -> Iterator[None]:
    """Expect that the block raises nothing."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{what} raises no {error!r}") from error


@contextmanager
def refused(error: type[Refused], what: str) -> Iterator[None]:
    """Expect that the block raises `error`."""
    try:
        yield
    except error:
        return
    except Exception as other:
        raise AssertionError(f"{what}: {other!r} instead of {error.__name__}") from other
    raise AssertionError(f"{what} raises {error.__name__}")


async def simultaneously(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T | Refused]:
    """The outcome of each call, all of them started before any is awaited.

    What a call raises that is no Refused is raised here.
    """
    outcomes: list[T | Refused] = []
    async with patience("simultaneous calls"):
        gathered = await asyncio.gather(*calls, return_exceptions=True)
    for outcome in gathered:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Refused):
            raise outcome
        outcomes.append(outcome)
    return outcomes


async def with_cancellations(calls: list[Coroutine[Any, Any, T]], moment: int) -> list[T | None]:
    """The outcome of each call, every other one cancelled while they run; None for those that
    the cancellation reached.

    `moment` chooses when: after so many turns of the event loop, or, when negative, as soon
    as one call has returned.
    """
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        for _ in range(moment):
            await asyncio.sleep(0)
        if moment < 0:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
    return [None if task.cancelled() else task.result() for task in tasks]


MOMENTS = (0, 1, 2, 3, 5, 8, 13, -1)
"""Of cancellation: with calls not begun, somewhere in the middle, and waiting for a turn."""


@asynccontextmanager
async def patience(what: str) -> AsyncIterator[None]:
    """Expect that the block comes to its end."""
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TimeoutError:
        raise AssertionError(f"{what}: no answer in {PATIENCE} s") from None
