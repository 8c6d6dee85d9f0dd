"""What happens to a user, as entries of a log.

Every user has a log of their own, numbered 1, 2, 3, … without gaps. An entry is written in the
same step as what it tells, so whoever reads the log after a cursor misses nothing, whatever
became of connections and processes meanwhile.
"""

import re
from collections.abc import Callable
from typing import NamedTuple, Self, TypeVar

from chatcore.model import MAX_INT64, Chat, Message, User

TAGS: dict[type, str] = {}
"""The name of each class of events on the wire. Never changes."""

KINDS: dict[type, int] = {}
"""The number of each class of entries in a store. Never changes."""

_T = TypeVar("_T")
_CURSOR = re.compile(r"([0-9A-Za-z]{1,32})-([1-9][0-9]{0,18})-(0|[1-9][0-9]{0,18})")


class Cursor(NamedTuple):
    """A place in a user's log: after the entry `n`, before all entries at 0.

    `str(cursor)` is its form for the wire, of at most 72 letters, digits and hyphens, which
    means nothing to anyone else.
    """

    log: str
    """Names the store that keeps the log: 1 to 32 ASCII letters and digits, random, so that a
    cursor from another store is told apart."""
    user_id: int
    n: int

    def __str__(self) -> str:
        return f"{self.log}-{self.user_id}-{self.n}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The cursor that this text is the form of, or None."""
        found = _CURSOR.fullmatch(text)
        if found is None or max(int(found[2]), int(found[3])) > MAX_INT64:
            return None
        return cls(found[1], int(found[2]), int(found[3]))


def _event(tag: str, *, kind: int | None = None) -> Callable[[type[_T]], type[_T]]:
    """Declare a class of events; one that a log holds has a `kind`."""

    def declare(event: type[_T]) -> type[_T]:
        TAGS[event] = tag
        if kind is not None:
            KINDS[event] = kind
        return event

    return declare


@_event("chat", kind=0)
class ChatOpened(NamedTuple):
    """The user has a new chat, whoever opened it."""

    cursor: Cursor
    """The place after this entry."""
    chat: Chat


@_event("message", kind=1)
class MessageSent(NamedTuple):
    """A message in a chat of the user, the user's own too."""

    cursor: Cursor
    chat: Chat
    message: Message


# Kind 3 is taken, too: SQL stores tell the two users' read markers apart by it.
@_event("read", kind=2)
class MarkerMoved(NamedTuple):
    """One of the two has read up to a message: the peer, or the user on some other device."""

    cursor: Cursor
    chat: Chat
    reader: User
    seq: int
    """The number of the message read last."""


@_event("reset")
class Reset(NamedTuple):
    """What happened before the cursor cannot be told any more: look at everything anew, for
    example with `Messenger.sync`. What happens from there on follows."""

    cursor: Cursor


Entry = ChatOpened | MessageSent | MarkerMoved
"""What a log holds."""

Event = Entry | Reset
