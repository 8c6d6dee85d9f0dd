"""The blocking Messenger, and the iteration over a user's events."""

import asyncio
import threading
from contextlib import suppress
from typing import Self

from chatcore import following, messenger
from chatcore.blocking.call import Call
from chatcore.blocking.counterpart import Counterpart, iteration, method, plain_method, wrapped
from chatcore.blocking.thread import Closed, EventLoopThread
from chatcore.events import Event


class Following(Counterpart[following.Following]):
    """Yields a user's events after a cursor in ascending order, each once:
    `for event in following`.

    The iteration ends when `stop` is called or the bridge is closed, not by itself. Leave it at
    any time: between two events nothing waits. Threads that share it get each event once, one
    of them. To wait for a limited time, call `batch(seconds)` instead. Raises Unavailable; the
    next call then continues at the same cursor.
    """

    def __init__(self, bridge: EventLoopThread, core: following.Following) -> None:
        super().__init__(bridge, core)
        self._turn = threading.Lock()
        self._step: Call[Event] | None = None
        self._stopped = False

    start = method(following.Following.start)
    batch = method(following.Following.batch, endless=True)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        with suppress(Closed):
            # First, because a fork may have left the lock locked.
            self._bridge.expect_usable()
            with self._turn:
                while True:
                    # A step that a signal interrupted may have an event.
                    if self._step is None:
                        self._step = self._bridge.prepare(self._core.__anext__, endless=True)
                    # Checked with the step in place: a `stop` before this is seen, a later one
                    # cancels the step.
                    if self._stopped:
                        break
                    with suppress(asyncio.CancelledError):
                        return self._finish(self._step)
        raise StopIteration

    def stop(self) -> None:
        """End the iteration: a thread that waits for an event stops waiting. From any thread."""
        self._stopped = True
        if (step := self._step) is not None:
            step.cancel()

    def _finish(self, step: Call[Event]) -> Event:
        self._bridge.run(step)
        self._step = None
        try:
            return step.result()
        finally:
            # The traceback of an exception refers to this frame, and the step to the exception.
            del step


class Messenger(Counterpart[messenger.Messenger]):
    """Opens chats, sends and reads messages, and follows events, as `chatcore.Messenger` does: the
    same methods, arguments and errors. Made by `Bridge.messenger`."""

    user = method(messenger.Messenger.user)
    users = method(messenger.Messenger.users)
    erase = method(messenger.Messenger.erase)
    find_user = method(messenger.Messenger.find_user)
    open_chat = method(messenger.Messenger.open_chat)
    ensure_chat = method(messenger.Messenger.ensure_chat)
    chat = method(messenger.Messenger.chat)
    chat_with = method(messenger.Messenger.chat_with)
    forget_names = plain_method(messenger.Messenger.forget_names)
    block = method(messenger.Messenger.block)
    unblock = method(messenger.Messenger.unblock)
    blocked_by = method(messenger.Messenger.blocked_by)
    list_chats = method(messenger.Messenger.list_chats)
    send = method(messenger.Messenger.send)
    send_once = method(messenger.Messenger.send_once)
    page = method(messenger.Messenger.page)
    message = method(messenger.Messenger.message)
    history = iteration(messenger.Messenger.history)
    states = method(messenger.Messenger.states)
    state = method(messenger.Messenger.state)
    mark_read = method(messenger.Messenger.mark_read)
    sync = method(messenger.Messenger.sync)
    follow = wrapped(messenger.Messenger.follow, Following)
    trim_logs = method(messenger.Messenger.trim_logs)
