"""Bridge: what a synchronous host opens first."""

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Generic, Self, TypeVar

from chatcore import accounts, messenger
from chatcore.blocking.accounts import Accounts
from chatcore.blocking.counterpart import constructor
from chatcore.blocking.messenger import Messenger
from chatcore.blocking.thread import EventLoopThread

T = TypeVar("T")


class Bridge(EventLoopThread):
    """Runs chatcore for synchronous programs (Django, Flask, scripts): one event loop in a thread
    of its own, for calls from any number of threads.

        bridge = Bridge()
        store = bridge.open(SqlAlchemyStore.open, "sqlite:///chatcore.db")
        messenger = bridge.messenger(store)

    It belongs to the process that made it: in a forked one, every call raises RuntimeError. It is
    closed by `close`, at the end of a `with` block, when nothing refers to it any more, and when
    the interpreter exits, after the last thread that is no daemon.

    A call costs some 45 µs of processor time more than in the asynchronous class.
    """

    messenger = constructor(
        messenger.Messenger,
        Messenger,
        """Make a blocking Messenger. The arguments are those of `chatcore.Messenger`.""",
    )
    accounts = constructor(
        accounts.Accounts,
        Accounts,
        """Make blocking Accounts. The arguments are those of `chatcore.Accounts`.""",
    )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Cell(Generic[T]):
    """What one process made."""

    value: T

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made = False


def per_process(make: Callable[[], T]) -> Callable[[], T]:
    """Decorate a function that opens a bridge: it runs once in each process, at the first call,
    and later calls return the same object. For the modules of hosts that fork or reload.

    Calls from several threads wait for the first. If it raises, the next call tries again.
    """
    # A forked process keeps the cell of its parent: closing inherited connections would harm it.
    cells: dict[int, _Cell[T]] = {}

    @wraps(make)
    def made() -> T:
        pid = os.getpid()
        # A new process needs a new lock: a fork may have left the old one locked.
        cell = cells.get(pid) or cells.setdefault(pid, _Cell())
        if not cell.made:
            with cell.lock:
                if not cell.made:
                    cell.value = make()
                    cell.made = True
        return cell.value

    return made
