"""An event loop in a thread, and calls into it from other threads."""

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from chatcore.blocking.call import Call

FINISH_SECONDS = 10.0
"""How long a bridge that closes waits for the calls in progress before it cancels them."""

CLOSE_SECONDS = 20.0
"""The limit for closing what a bridge opened."""

EXIT_SECONDS = 60.0
"""The limit for closing a bridge at exit; then the interpreter exits without it."""

P = ParamSpec("P")
T = TypeVar("T")


class Closable(Protocol):
    """What a bridge closes when it is closed itself: a store, a doorbell."""

    async def close(self) -> None:
        """Release the resource. Called on the loop."""
        ...


R = TypeVar("R", bound=Closable)


class Closed(RuntimeError):
    """The bridge is closed."""


class _Loop:
    """The loop, its thread and what was opened on it.

    Refers to no EventLoopThread, so that one without references can be closed.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.closed = False
        self.failure: BaseException | None = None
        self.opened = AsyncExitStack()
        self.thread = threading.Thread(target=self._run, name="chatcore-blocking", daemon=True)
        self.loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._ended = False
        self._exiting = False
        self._abandoned = False
        self._tasks = set[asyncio.Task[Any]]()
        self._endless = set[asyncio.Task[Any]]()
        # Reentrant: the garbage collector may close an abandoned loop at any line.
        self._lock = threading.RLock()
        _loops.add(self)
        # Not `threading`'s own hook: other threads may still call until the last one has ended.
        atexit.register(self._exit)
        self.thread.start()

    def begin(self, call: Call[Any]) -> None:
        # Under the lock, so that every accepted call begins before the loop ends.
        with self._lock:
            if self.closed:
                raise self.refusal()
            self.loop.call_soon_threadsafe(self._begin, call)

    def expect_usable(self) -> None:
        if (pid := os.getpid()) != self.pid:
            raise RuntimeError(
                f"this bridge belongs to process {self.pid}, from which process {pid} was forked: "
                "open a bridge in each process, for example with chatcore.blocking.per_process"
            )
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "a blocking call would stop the event loop that runs in this thread: use the "
                "asynchronous class here, or make the call with asyncio.to_thread"
            )
        if self.closed:
            raise self.refusal()

    def refusal(self) -> BaseException:
        if self._exiting and threading.current_thread().daemon:
            # Ends a daemon thread without a traceback while the interpreter exits.
            return SystemExit()
        return Closed("this bridge is closed: open another one")

    def close(self, *, exiting: bool = False, abandoned: bool = False) -> None:
        """Refuse further calls, and let the thread close everything. Does not wait for it."""
        if os.getpid() != self.pid:
            # The fork may have left the lock locked.
            return
        with self._lock:
            if self.closed:
                return
            self.closed, self._exiting, self._abandoned = True, exiting, abandoned
            self.loop.call_soon_threadsafe(self._closing.set)

    def _exit(self) -> None:
        self.close(exiting=True)
        self.thread.join(EXIT_SECONDS)
        if self.failure is not None:
            raise self.failure

    def _begin(self, call: Call[Any]) -> None:
        if (task := call.begin(may_begin=not self._ended)) is None:
            return
        for tasks in (self._tasks, self._endless) if call.endless else (self._tasks,):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                try:
                    runner.run(self._serve())
                finally:
                    # Also when a coroutine ended the loop by SystemExit.
                    with self._lock:
                        self.closed = self._ended = True
        except BaseException as failure:
            self.failure = failure
            if self._abandoned:
                raise
        finally:
            _loops.discard(self)
            atexit.unregister(self._exit)

    async def _serve(self) -> None:
        await self._closing.wait()
        for tasks, seconds in ((self._endless, FINISH_SECONDS), (self._tasks, CLOSE_SECONDS)):
            for task in tuple(tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(tuple(self._tasks), timeout=seconds)
        async with asyncio.timeout(CLOSE_SECONDS):
            await self.opened.aclose()


_loops = set[_Loop]()
"""Every loop whose thread runs."""


class EventLoopThread:
    """An event loop in a daemon thread, for calls from any number of other threads.

    An object without references is closed, without waiting for it; the next one to open waits.
    """

    def __init__(self) -> None:
        for loop in tuple(_loops):
            # What an abandoned bridge opened, such as a file, can be opened again after this.
            if loop.closed and loop.pid == os.getpid():
                loop.thread.join(EXIT_SECONDS)
        self._loop = _Loop()
        weakref.finalize(self, self._loop.close, abandoned=True).atexit = False

    def open(self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Await `function(*args, **kwargs)` on the loop, such as `SqlAlchemyStore.open` or
        `NotifyDoorbell.open`, and return the store or doorbell. `close` closes it, the last opened
        first. Raises what the function raises."""
        opened = self._loop.opened

        async def open_and_keep() -> R:
            resource = await function(*args, **kwargs)
            opened.push_async_callback(resource.close)
            return resource

        return self.call(open_and_keep)

    def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `function(*args, **kwargs)` on the loop, in a copy of the caller's context, and
        return the result: for what has no method here, such as `bridge.call(store.check_writes)`.

        Raises what the function raises. KeyboardInterrupt cancels the call and is raised at once:
        as with a cancelled coroutine, a write then happened or did not. Raises RuntimeError if
        the bridge is closed, if an event loop runs in this thread, and in a forked process.
        """
        return self.finish(self.prepare(partial(function, *args, **kwargs)))

    def prepare(self, function: Callable[[], Awaitable[T]], *, endless: bool = False) -> Call[T]:
        """Make a call for `run`. `close` cancels it at once if it is `endless`."""
        return Call(self._loop.loop, function, endless)

    def run(self, call: Call[Any]) -> None:
        """Begin the call, unless it has begun, and wait for its end. An exception of a signal
        handler, such as KeyboardInterrupt, cancels the call and is raised at once. Raises
        RuntimeError as `call` does."""
        self._loop.expect_usable()
        try:
            self._loop.begin(call)
            call.wait()
        except BaseException:
            call.cancel()
            raise

    def finish(self, call: Call[T]) -> T:
        """Run the call, and return its result."""
        try:
            self.run(call)
            return call.result()
        except asyncio.CancelledError:
            if not self._loop.closed:
                raise
            raise self._loop.refusal() from None
        finally:
            # The traceback of an exception refers to this frame, and the call to the exception.
            del call

    def expect_usable(self) -> None:
        """Raise RuntimeError where `call` would."""
        self._loop.expect_usable()

    def close(self) -> None:
        """Refuse further calls, wait up to 10 seconds for those in progress, and close what was
        opened. Iterations of `Messenger.follow` end. Raises what closing raises, and TimeoutError
        if it takes longer than 20 seconds. May be called again; does nothing in a forked process.
        """
        if os.getpid() != self._loop.pid:
            return
        if not self._loop.closed:
            self._loop.expect_usable()
        self._loop.close()
        self._loop.thread.join()
        if self._loop.failure is not None:
            raise self._loop.failure
