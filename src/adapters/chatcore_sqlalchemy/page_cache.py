"""What was read lately: the newest messages of chats, and users' lists of chats.

Nothing needs to tell this of writes, for messages and lists only grow, and say by one number
that they did: a chat by its last `seq`, a list by its newest `activity`. While that number is
what it was, so are the messages, which never change, and the list, but for the names of users
who were erased. And while nobody wrote at all (`version`), not even the number is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from sys import getsizeof
from typing import Generic, TypeVar

from chatcore.model import ChatSummary, Message, elapsed

MAX_BYTES = 32 * 1024 * 1024
"""Roughly, for the messages and again for the lists."""

OLD_SECONDS = 60.0
"""How long a name may be shown that was erased by another process."""

_TUPLE = 250
"""Roughly the bytes of a message, apart from the text."""

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class Entry(Generic[V]):
    value: V
    size: int
    version: int | None
    """The database's, when this was last found to be up to date."""
    since: float
    """When it was put in, by `elapsed`."""

    def is_old(self) -> bool:
        return elapsed() - self.since >= OLD_SECONDS

    def is_current(self, version: int | None) -> bool:
        return version is not None and self.version == version


class PageCache(Generic[K, V]):
    """Forgets what was put in first to stay within a number of bytes."""

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
            # The oldest, since dictionaries keep their order.
            self._bytes -= self._entries.pop(next(iter(self._entries))).size


def size_of_messages(messages: Sequence[Message]) -> int:
    return sum(_TUPLE + getsizeof(message.text) for message in messages)


def size_of_list(summaries: Sequence[ChatSummary]) -> int:
    return 4 * _TUPLE * (1 + len(summaries))
