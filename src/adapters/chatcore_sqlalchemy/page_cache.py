"""A cache of the newest messages of chats, and of users' lists of chats.

No invalidation needed: one number changes whenever the contents do, the last `seq` of a chat and
the newest `activity` of a list. Only the names of users in a list change without it. While
nothing was written at all (`version`), the store does not even read the number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from sys import getsizeof
from typing import Generic, TypeVar

from chatcore.model import ChatSummary, Message, elapsed

MAX_BYTES = 32 * 1024 * 1024
"""Of each cache, roughly: there is one for messages and one for lists."""

OLD_SECONDS = 60.0
"""How long a list may show a name that another process erased or renamed."""

_TUPLE = 250
"""The size of a message without its text in bytes, roughly."""

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class Entry(Generic[V]):
    """A cached page or list."""

    value: V
    size: int
    version: int | None
    """The version of the database at which the value was last known to be current."""
    since: float
    """When the value was cached, by `elapsed`."""

    def is_old(self) -> bool:
        return elapsed() - self.since >= OLD_SECONDS

    def is_current(self, version: int | None) -> bool:
        return version is not None and self.version == version


class PageCache(Generic[K, V]):
    """Values up to a total size in bytes; the ones cached first are evicted first."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: dict[K, Entry[V]] = {}

    def get(self, key: K) -> Entry[V] | None:
        return self._entries.get(key)

    def put(self, key: K, value: V, size: int, version: int | None) -> None:
        if (before := self._entries.pop(key, None)) is not None:
            self._bytes -= before.size
        self._entries[key] = Entry(value, size, version, elapsed())
        self._bytes += size
        while self._bytes > self._max_bytes:
            # Dictionaries keep their order, so the first key is the oldest.
            self._bytes -= self._entries.pop(next(iter(self._entries))).size


def size_of_messages(messages: Sequence[Message]) -> int:
    return sum(_TUPLE + getsizeof(message.text) for message in messages)


def size_of_list(summaries: Sequence[ChatSummary]) -> int:
    return 4 * _TUPLE * (1 + len(summaries))
