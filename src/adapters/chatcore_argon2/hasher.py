"""Hash and verify in a few threads that let everything else go first."""

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Self, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import (
    HashingError,
    InvalidHashError,
    VerificationError,
    VerifyMismatchError,
)

from chatcore.errors import Overloaded

NICE = 10

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Argon2Hasher:
    """A PasswordHasher: argon2id with the parameters of the OWASP Password Storage Cheat
    Sheet, 19 MiB of memory, 2 passes, 1 lane.

    `memory_cost` is in KiB, at least 8 a lane (RFC 9106, section 3.1). Other parameters than
    before are no obstacle: earlier hashes are still verified, and `needs_rehash` tells them.

    `threads` hash at the same time: one per core but one, unless given. They take
    `memory_cost` each, and on Linux they run at nice 10. `max_waiting` more callers may wait
    for a thread; the next is refused with Overloaded, at once. A caller who is cancelled
    while waiting gives the place up.

    `close` it, or use it as an asynchronous context manager, to end the threads; left alone,
    they end with the process.
    """

    def __init__(
        self,
        *,
        time_cost: int = 2,
        memory_cost: int = 19 * 1024,
        parallelism: int = 1,
        threads: int | None = None,
        max_waiting: int = 128,
    ) -> None:
        threads = max(1, _cores() - 1) if threads is None else threads
        if min(time_cost, parallelism, threads) < 1 or max_waiting < 0:
            raise ValueError("argon2 needs at least one pass, one lane and one thread")
        if memory_cost < 8 * parallelism:
            raise ValueError("argon2 needs at least 8 KiB of memory for each lane")
        self._argon2 = PasswordHasher(time_cost, memory_cost, parallelism)
        self._executor = ThreadPoolExecutor(threads, "chatcore-argon2", _step_back)
        self._places = threading.Semaphore(threads + max_waiting)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the threads, after the work that has been accepted. Later calls are refused
        with Overloaded."""
        self._executor.shutdown(wait=False)
        await asyncio.to_thread(self._executor.shutdown)

    async def hash(self, password: str) -> str:
        return await self._in_turn(partial(self._hash, password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        return await self._in_turn(partial(self._verify, password, password_hash))

    def needs_rehash(self, password_hash: str) -> bool:
        try:
            return self._argon2.check_needs_rehash(password_hash)
        except InvalidHashError:
            return True

    async def _in_turn(self, work: Callable[[], _T]) -> _T:
        if not self._places.acquire(blocking=False):
            raise Overloaded("too many passwords wait to be hashed")
        try:
            future = self._executor.submit(work)
        except RuntimeError as error:  # Closed, or the system gives no more threads.
            self._places.release()
            raise Overloaded(str(error)) from error
        # By the future, not by the caller: a thread that hashes for a caller who left is busy.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def _hash(self, password: str) -> str:
        try:
            return self._argon2.hash(password)
        except HashingError as error:  # Its parameters are right, so there is no memory.
            raise Overloaded(str(error)) from error

    def _verify(self, password: str, password_hash: str | None) -> bool:
        damage = ""
        if password_hash is not None:
            try:
                return self._argon2.verify(password_hash, password)
            except VerifyMismatchError:
                return False
            except (InvalidHashError, VerificationError, UnicodeEncodeError) as error:
                # Not the error itself, which may quote the hash.
                damage = type(error).__name__
        # What cannot be verified costs what verifying a hash of today does: hashing is the
        # same work, and needs no dummy that has to keep up with the parameters.
        self._hash(password)
        if damage:
            _log.warning("a stored password hash is damaged: %s", damage)
        return False


def _cores() -> int:
    """Those that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _step_back() -> None:
    """Let the event loop, and all else, go before this thread."""
    # Only Linux has a nice value for each thread; elsewhere the id might be another process.
    if sys.platform == "linux":
        this = os.PRIO_PROCESS, threading.get_native_id()
        with contextlib.suppress(OSError):  # A sandbox may forbid it.
            os.setpriority(*this, max(NICE, os.getpriority(*this)))
