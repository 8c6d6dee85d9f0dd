"""Threads of tests: their outcomes, what they wait for, and signals."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

SECONDS = 60

T = TypeVar("T")


def in_thread(function: Callable[[], T]) -> Future[T]:
    """Call the function in a daemon thread; its outcome is the future's."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.001)


@contextmanager
def interrupted_when(condition: Callable[[], bool]) -> Iterator[None]:
    """Send this thread, the main one, an interrupt once the condition is true."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def send() -> None:
        wait_until(condition)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    sending = in_thread(send)
    try:
        yield
    finally:
        sending.result(SECONDS)
        signal.signal(signal.SIGUSR1, before)


class Held:
    """A call on the loop that waits until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.cancelled = threading.Event()
        self._release = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop

    async def __call__(self) -> str:
        self._loop = asyncio.get_running_loop()
        self.began.set()
        try:
            await self._release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "done"

    def let_go(self) -> None:
        self._loop.call_soon_threadsafe(self._release.set)
