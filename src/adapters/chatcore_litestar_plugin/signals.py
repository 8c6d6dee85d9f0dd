"""Reacts to signals that stop the server, before the server does."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)

Handler = Callable[[int, FrameType | None], object]


@contextmanager
def on_stop_signals(react: Callable[[], None]) -> Iterator[None]:
    """Within this context, call `react` on the running event loop at SIGTERM and SIGINT, beside the
    handler that the server has installed.

    Leaves a signal alone that has no handler in Python, since its default ends the process at once.
    Does nothing outside the main thread, the only one that may install handlers.
    """
    loop = asyncio.get_running_loop()

    def beside(handler: Handler) -> Handler:
        def handle(number: int, frame: FrameType | None) -> None:
            # The loop may have ended if another handler was installed on top of this one.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(react)
            handler(number, frame)

        return handle

    installed = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            before = signal.getsignal(number)
            if callable(before):
                installed[number] = before, beside(before)
                signal.signal(number, installed[number][1])
    try:
        yield
    finally:
        for number, (before, handle) in installed.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, before)
