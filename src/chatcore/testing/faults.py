"""Faults on demand: a store that fails and rings that are lost, when a test says so."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

from chatcore.errors import StoreUnavailable
from chatcore.ports import Doorbell

S = TypeVar("S")
D = TypeVar("D", bound=Doorbell)

READS = frozenset(
    {
        "blocked_by",
        "chat_by_id",
        "chat_state",
        "chat_states",
        "chat_with",
        "chats_of",
        "credentials",
        "credentials_by_id",
        "end_of_log",
        "events_after",
        "last_seq",
        "messages_after",
        "messages_before",
        "replay_of",
        "session_by_id",
        "sessions_of",
        "user_by_id",
        "user_by_name",
        "users_by_name",
    }
)
"""The methods of the store's ports that only read."""

WRITES = frozenset(
    {
        "add_session",
        "add_user",
        "append_message",
        "block",
        "end_session",
        "erase_user",
        "move_read_marker",
        "open_chat",
        "put_users",
        "renew_session",
        "replace_password_hash",
        "trim_logs",
        "unblock",
        "void_tokens",
    }
)
"""The methods of the store's ports that write."""


class _Unknown(NamedTuple):
    """A write whose outcome the caller shall not learn."""

    happens: bool
    method: str | None

    def meets(self, method: str) -> bool:
        return self.method in (None, method)


class Faults:
    """Causes faults in the stores and doorbells that it wraps.

    Give the wrapped objects to `Accounts` and `Messenger` in place of the originals:

        faults = Faults()
        store = faults.store(MemoryStore())
        messenger = Messenger(store, doorbell=faults.doorbell(LocalDoorbell()))
    """

    def __init__(self) -> None:
        self._down = 0
        self._silent = 0
        self._unknown: deque[_Unknown] = deque()

    def store(self, store: S) -> S:
        """Wrap a store. The wrapper has the methods and attributes of the store, so a type checker
        sees the store's type; `isinstance` does not. Use the store itself in `async with`."""
        return cast(S, _FaultyStore(store, self))

    def doorbell(self, doorbell: D) -> D:
        """Wrap a doorbell, as `store` wraps a store."""
        return cast(D, _FaultyDoorbell(doorbell, self))

    def next_write_unknown(self, *, happens: bool, method: str | None = None) -> None:
        """Let the next write raise StoreUnavailable after it happened, or instead of it.

        With `method`, that is the next write by this method of the store's port, such as
        "append_message". A write that the store refuses stays refused and does not count. Several
        calls meet several writes. Raises ValueError if the port has no such writing method.
        """
        if method is not None and method not in WRITES:
            raise ValueError(f"no writing method: {method!r}; choose one of {sorted(WRITES)}")
        self._unknown.append(_Unknown(happens, method))

    @contextmanager
    def store_unavailable(self) -> Iterator[None]:
        """Let every method of the stores raise StoreUnavailable, and do nothing, during the
        block."""
        self._down += 1
        try:
            yield
        finally:
            self._down -= 1

    @contextmanager
    def rings_lost(self) -> Iterator[None]:
        """Lose every ring of the doorbells during the block."""
        self._silent += 1
        try:
            yield
        finally:
            self._silent -= 1

    async def _call(self, name: str, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self._down:
            raise StoreUnavailable
        fault = None
        if name in WRITES:
            fault = next((it for it in self._unknown if it.meets(name)), None)
        if fault is None:
            return await method(*args, **named)
        # Taken before the write: of two writes at once, it meets one.
        self._unknown.remove(fault)
        if fault.happens:
            try:
                await method(*args, **named)
            except BaseException:
                self._unknown.appendleft(fault)
                raise
        raise StoreUnavailable


class _FaultyStore:
    def __init__(self, store: object, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in READS | WRITES:
            return found

        @wraps(found)
        async def call(*args: Any, **named: Any) -> Any:
            return await self._faults._call(name, found, *args, **named)

        return call


class _FaultyDoorbell:
    def __init__(self, doorbell: Doorbell, faults: Faults) -> None:
        self._doorbell = doorbell
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._doorbell, name)

    def ring(self, user_ids: Iterable[int]) -> None:
        if not self._faults._silent:
            self._doorbell.ring(user_ids)
