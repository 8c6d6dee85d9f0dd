"""How a check judges: not by `assert`, which `python -O` removes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from chatcore.errors import Refused
from chatcore.testing.recording import LastCall

T = TypeVar("T")
P = ParamSpec("P")

PATIENCE = 60.0
"""Seconds after which a call counts as one that never returns."""


def check(function: Callable[P, Awaitable[None]]) -> Callable[P, Coroutine[Any, Any, None]]:
    """Make a check of a coroutine function that takes adapters.

    A check fails by AssertionError alone; another error becomes one that names the last call. The
    error has a note with the name of the check and its docstring, the promise.
    """
    promise = f"{function.__name__}: {' '.join((function.__doc__ or '').split())}"

    @wraps(function)
    async def checked(*adapters: P.args, **options: P.kwargs) -> None:
        last = LastCall()
        try:
            await cast(Any, function)(*map(last.of, adapters), **options)
        except AssertionError as error:
            error.add_note(promise)
            raise
        except Exception as error:
            stopped = AssertionError(f"the check stopped {last}: {error!r}")
            stopped.add_note(promise)
            raise stopped from error

    return checked


def expect(condition: object, promise: str) -> None:
    """Raise AssertionError with the broken promise unless the condition holds."""
    if not condition:
        raise AssertionError(promise)


def expect_equal(found: object, wanted: object, promise: str) -> None:
    """Raise AssertionError with the promise and both values unless they are equal."""
    expect(found == wanted, f"{promise}: found {found!a:.300}, expected {wanted!a:.300}")


@contextmanager
def accepted(call: str) -> Iterator[None]:
    """Expect that the block raises nothing."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{call} must succeed, but raised {error!r}") from error


@contextmanager
def refused(error: type[Refused], call: str) -> Iterator[None]:
    """Expect that the block raises `error`."""
    try:
        yield
    except error:
        return
    except Exception as other:
        raise AssertionError(f"{call} must raise {error.__name__}, but raised {other!r}") from other
    raise AssertionError(f"{call} must raise {error.__name__}, but succeeded")


async def simultaneously(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T | Refused]:
    """Return the outcome of each call, all started before any is awaited. An exception other than
    Refused propagates."""
    outcomes: list[T | Refused] = []
    calls = list(calls)
    names = sorted({getattr(call, "__name__", "an unnamed method") for call in calls})
    async with patience(f"simultaneous calls of {' and '.join(names)}"):
        gathered = await asyncio.gather(*calls, return_exceptions=True)
    for outcome in gathered:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Refused):
            raise outcome
        outcomes.append(outcome)
    return outcomes


async def with_cancellations(calls: list[Coroutine[Any, Any, T]], moment: int) -> list[T | None]:
    """Return the outcome of each call while every other one is cancelled; None for calls that the
    cancellation reached.

    `moment` is the number of rounds of the event loop before the cancellation; if negative, it
    comes as soon as one call has returned.
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
"""Moments of cancellation: before the calls begin, during them, and after one has returned."""


@asynccontextmanager
async def patience(call: str) -> AsyncIterator[None]:
    """Expect that the block ends within PATIENCE."""
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TimeoutError:
        raise AssertionError(f"{call} must end within {PATIENCE} s") from None
