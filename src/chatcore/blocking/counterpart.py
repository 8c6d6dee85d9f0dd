"""Blocking counterparts: the methods of an asynchronous class, called through a bridge.

Signatures, types and docstrings are those of the asynchronous methods, so nothing can drift.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from chatcore.blocking.thread import EventLoopThread

C = TypeVar("C")
T = TypeVar("T")
W = TypeVar("W")
P = ParamSpec("P")


class Counterpart(Generic[C]):
    """The blocking counterpart of `core`, whose methods run on the bridge's loop. For any number
    of threads at once."""

    def __init__(self, bridge: EventLoopThread, core: C) -> None:
        self._bridge = bridge
        self._core = core


def method(
    function: Callable[Concatenate[C, P], Awaitable[T]], *, endless: bool = False
) -> Callable[Concatenate[Counterpart[C], P], T]:
    """Return the blocking counterpart of a coroutine method. Closing the bridge cancels an
    `endless` call at once."""

    @wraps(function)
    def call(self: Counterpart[C], /, *args: P.args, **kwargs: P.kwargs) -> T:
        # By name, so that a subclass of the asynchronous class keeps its own.
        bound: Callable[P, Awaitable[T]] = getattr(self._core, function.__name__)
        bridge = self._bridge
        return bridge.finish(bridge.prepare(partial(bound, *args, **kwargs), endless=endless))

    return call


def plain_method(
    function: Callable[Concatenate[C, P], T],
) -> Callable[Concatenate[Counterpart[C], P], T]:
    """Return the counterpart of a method that is no coroutine: it runs on the loop, too."""

    @wraps(function)
    def call(self: Counterpart[C], /, *args: P.args, **kwargs: P.kwargs) -> T:
        bound: Callable[P, T] = getattr(self._core, function.__name__)

        async def on_loop() -> T:
            return bound(*args, **kwargs)

        return self._bridge.call(on_loop)

    return call


def iteration(
    function: Callable[Concatenate[C, P], AsyncIterator[T]],
) -> Callable[Concatenate[Counterpart[C], P], Iterator[T]]:
    """Return the counterpart of an asynchronous generator. One that is left early is released."""

    @wraps(function)
    def iterate(self: Counterpart[C], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        pieces = getattr(self._core, function.__name__)(*args, **kwargs)
        while True:
            try:
                piece: T = self._bridge.call(anext, pieces)
            except StopAsyncIteration:
                return
            yield piece

    return iterate


def wrapped(
    function: Callable[Concatenate[C, P], T], wrap: Callable[[EventLoopThread, T], W]
) -> Callable[Concatenate[Counterpart[C], P], W]:
    """Return the counterpart of a method whose result has a counterpart, which `wrap` makes."""
    unwrapped = plain_method(function)

    @wraps(function)
    def call(self: Counterpart[C], /, *args: P.args, **kwargs: P.kwargs) -> W:
        return wrap(self._bridge, unwrapped(self, *args, **kwargs))

    call.__doc__ = (function.__doc__ or "").replace("async for", "for")
    return call


def constructor(
    make: Callable[P, C], wrap: Callable[[EventLoopThread, C], W], doc: str
) -> Callable[Concatenate[EventLoopThread, P], W]:
    """Return a method of the bridge that makes an object of an asynchronous class on the loop,
    and its counterpart."""

    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> W:
        async def on_loop() -> C:
            return make(*args, **kwargs)

        return wrap(self, self.call(on_loop))

    call.__doc__ = doc
    return call
