"""Hashing and verification in a few low-priority threads."""

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

    `memory_cost` is in KiB, at least 8 per lane (RFC 9106, section 3.1). The parameters may
    change: earlier hashes still verify, and `needs_rehash` detects them.

    `threads` is the number of hashes computed at once, by default one fewer than the cores. Each
    takes `memory_cost`, and on Linux runs at nice 10. Up to `max_waiting` more calls wait for a
    thread; the next call raises Overloaded at once. A call cancelled while it waits frees its
    place.

    To end the threads, `close` the hasher or use it as an asynchronous context manager; otherwise
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
        self._executor = ThreadPoolExecutor(threads, "chatcore-argon2", _lower_priority)
        self._places = threading.Semaphore(threads + max_waiting)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish the accepted work and end the threads. Later calls raise Overloaded."""
        self._executor.shutdown(wait=False)
        await asyncio.to_thread(self._executor.shutdown)

    async def hash(self, password: str) -> str:
        return await self._submit(partial(self._hash, password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        return await self._submit(partial(self._verify, password, password_hash))

    def needs_rehash(self, password_hash: str) -> bool:
        try:
            return self._argon2.check_needs_rehash(password_hash)
        except InvalidHashError:
            return True

    async def _submit(self, work: Callable[[], _T]) -> _T:
        if not self._places.acquire(blocking=False):
            raise Overloaded("too many passwords are waiting to be hashed")
        try:
            future = self._executor.submit(work)
        except RuntimeError as error:  # Closed, or the system refuses more threads.
            self._places.release()
            raise Overloaded(str(error)) from error
        # When the work ends, not the call: a thread still hashes after its caller has left.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def _hash(self, password: str) -> str:
        try:
            return self._argon2.hash(password)
        except HashingError as error:  # The parameters are valid, so memory ran out.
            raise Overloaded(str(error)) from error

    def _verify(self, password: str, password_hash: str | None) -> bool:
        damage = ""
        if password_hash is not None:
            try:
                return self._argon2.verify(password_hash, password)
            except VerifyMismatchError:
                return False
            except (InvalidHashError, VerificationError, UnicodeEncodeError) as error:
                # Only the type: the message may quote the hash.
                damage = type(error).__name__
        # Take as long as a real verification. Hashing is the same work, and needs no dummy hash
        # that must follow the parameters.
        self._hash(password)
        if damage:
            _log.warning("a stored password hash is damaged: %s", damage)
        return False


def _cores() -> int:
    """The number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _lower_priority() -> None:
    """Let every other thread, the event loop above all, run before this one."""
    # Only Linux has a nice value per thread; elsewhere the id might belong to another process.
    if sys.platform == "linux":
        this = os.PRIO_PROCESS, threading.get_native_id()
        with contextlib.suppress(OSError):  # A sandbox may forbid it.
            os.setpriority(*this, max(NICE, os.getpriority(*this)))
