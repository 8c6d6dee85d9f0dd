"""The adapters around the core, as unreliable as their ports allow."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from chatcore import (
    ChatcoreError,
    Cursor,
    LocalDoorbell,
    Messenger,
    NewMessage,
    Overloaded,
    StoreUnavailable,
)
from chatcore.ports import ChatStore, Put
from tests.unit.simulation.virtual import run_now
from tests.unit.simulation.world import SLOWEST_STEP, World

T = TypeVar("T")

_WRITES = {"open_chat", "append_message", "move_read_marker"}


class Lost(Exception):
    """No response arrived. The request may or may not have been carried out."""


class FaultyDoorbell:
    """A doorbell that loses, doubles and delays rings."""

    def __init__(self, world: World, *, reliable: bool = False) -> None:
        self._world = world
        self._inner = LocalDoorbell()
        self._reliable = reliable
        self._loses = world.rng.choice((0.0, 0.1, 0.5, 0.9))
        self.listening = 0

    def ring(self, user_ids: Iterable[int]) -> None:
        for user_id in user_ids:
            self.carry(partial(self.arrive, user_id))

    def carry(self, arrive: Callable[[], None]) -> None:
        if self._reliable or not self._world.faulty:
            arrive()
            return
        if self._world.chance(self._loses):
            self._world.count("rings lost")
            return
        for _ in range(1 + self._world.chance(0.1)):
            if self._world.chance(0.3):
                self._world.count("rings late")
                self._world.loop.call_later(self._world.rng.uniform(0, 8), arrive)
            else:
                arrive()

    def arrive(self, user_id: int) -> None:
        self._world.note("ring", user_id)
        self._inner.ring((user_id,))

    def listen(self, user_id: int, wake: Callable[[], None]) -> Callable[[], None]:
        leave = self._inner.listen(user_id, wake)
        self.listening += 1

        def left() -> None:
            self.listening -= 1
            leave()

        return left


class FaultyStore:
    """The world's store, slow and unreliable.

    Each call is one atomic step. It happens once or not at all, and after an error the caller
    cannot tell which. After a cancellation it may still happen later.
    """

    def __init__(self, world: World, *, rings: FaultyDoorbell | None = None) -> None:
        self._world = world
        self._rings = rings
        """A doorbell to ring within each step, so that no ring is ever missing."""
        self._fails = world.rng.choice((0.0, 0.02, 0.1))

    on_failover = None
    """The world's store loses nothing."""

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        return partial(self._call, name)

    def as_store(self) -> ChatStore:
        return cast(ChatStore, self)

    async def _call(self, name: str, *args: object, **options: object) -> object:
        world = self._world
        if world.chance(self._fails / 4):
            world.note("overloaded", name)
            raise Overloaded
        before, after = self._delay(), self._delay()
        fails_before, fails_after = world.chance(self._fails), world.chance(self._fails)
        answer: asyncio.Future[object] = world.loop.create_future()

        def settle(result: object, error: Exception | None) -> None:
            if answer.done():
                return
            if error:
                answer.set_exception(error)
            else:
                answer.set_result(result)

        def step() -> None:
            result: object = None
            error: ChatcoreError | None = StoreUnavailable()
            if fails_before:
                world.note("fails before", name)
            else:
                result, error = self._step(name, args, options)
                if fails_after:
                    world.note("fails after", name)
                    world.count("steps of unknown outcome")
                    error = StoreUnavailable()
            if after:
                world.loop.call_later(after, settle, result, error)
            else:
                settle(result, error)

        timer = None
        if before:
            timer = world.loop.call_later(before, step)
        else:
            step()
        try:
            return await answer
        except asyncio.CancelledError:
            if timer and world.rng.random() < 0.5:
                timer.cancel()
            raise

    def _delay(self) -> float:
        if self._world.rng.random() < 0.5:
            return 0.0
        return self._world.rng.uniform(0, SLOWEST_STEP / 2)

    def _step(
        self, name: str, args: tuple[object, ...], options: dict[str, object]
    ) -> tuple[object, ChatcoreError | None]:
        world = self._world
        world.note(name, *(_brief(value) for value in (*args, *options.values())))
        result, error = None, None
        try:
            result = run_now(getattr(world.store, name)(*args, **options))
        except ChatcoreError as refused:
            error = refused
        if name == "put_users" and error is None:
            world.names.put(cast(Sequence[Put], result))
        if name in _WRITES:
            grown = world.observe()
            if self._rings:
                self._rings.ring(grown)
        return result, error


def _brief(value: object) -> object:
    if isinstance(value, Cursor):
        return f"@{value.n}"
    return repr(value.text) if isinstance(value, NewMessage) else value


class Node:
    """A process of the service: a Messenger, and its requests in flight."""

    def __init__(self, world: World, make: Callable[["Node"], Messenger]) -> None:
        self._world = world
        self._make = make
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self.skew = world.rng.uniform(-1, 1)
        """The seconds by which its clock is ahead."""
        self.messenger: Messenger | None = make(self)

    def spawn(self, work: Callable[[Messenger], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Start a request. Raises Lost if the node is down."""
        if self.messenger is None:
            raise Lost
        task = self._world.loop.create_task(work(self.messenger))
        self._tasks[task] = None
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]
        if not task.cancelled() and isinstance(task.exception(), ChatcoreError | Lost):
            return  # A response, which the client checks.
        self._world.ended(task)

    def stop(self) -> None:
        self.messenger = None
        for task in list(self._tasks):
            task.cancel()

    def start(self) -> None:
        if self.messenger is None:
            self.messenger = self._make(self)
