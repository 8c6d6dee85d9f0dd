"""Events of a user, as entries of the user's event log.

Every user has an event log, numbered 1, 2, 3, … without gaps. An entry is written in the same step
as the change that it records, so a reader that resumes at its cursor misses nothing, even after
lost connections and restarts.
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
_CURSOR = re.compile(
    r"([0-9A-Za-z]{1,32})-([1-9][0-9]{0,18})-"
    r"(?:0|([1-9][0-9]{0,18})(?:-(0|[1-9a-f][0-9a-f]{0,7}))?)"
)


class Cursor(NamedTuple):
    """A place in a user's log: after the entry `n`, before all entries at 0.

    `str(cursor)` is its form for the wire: at most 81 letters, digits and hyphens, opaque to
    clients. Those of chatcore's own stores, whose names have 16 characters, have at most 65.
    """

    log: str
    """The random name of the store: 1 to 32 ASCII letters and digits. It distinguishes a cursor of
    another store."""
    user_id: int
    n: int
    mark: int | None = None
    """32 bits of the entry `n`, by which a store recognises that it gave the number again, to
    another entry (`mark_of`). None at 0, from a store without marks, and in cursors of earlier
    versions."""

    def __str__(self) -> str:
        if self.mark is None:
            return f"{self.log}-{self.user_id}-{self.n}"
        return f"{self.log}-{self.user_id}-{self.n}-{self.mark:x}"

    def at(self, n: int, mark: int | None = None) -> Self:
        """The cursor after another entry of the same log."""
        return type(self)(self.log, self.user_id, n, mark)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse the form for the wire; None if the text is not a cursor."""
        found = _CURSOR.fullmatch(text)
        if found is None:
            return None
        user_id, n = int(found[2]), int(found[3] or 0)
        if max(user_id, n) > MAX_INT64:
            return None
        return cls(found[1], user_id, n, None if found[4] is None else int(found[4], 16))


def mark_of(kind: int, chat_id: int, seq: int, at_us: int) -> int:
    """Return the mark of an entry: its kind in KINDS, its chat, the number of its message or read
    marker (0 for an opening), and its time. Two entries share one by chance only, once in 2**32.
    Never changes, since clients keep cursors."""
    # Multiplied by large odd numbers, small differences fill all 32 bits, in two thirds of the time
    # that a CRC takes.
    return (at_us + kind * 0xC2B2AE35 + chat_id * 0x9E3779B1 + seq * 0x85EBCA6B) & 0xFFFFFFFF


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
    """The user has a new chat, opened by either of the two users."""

    cursor: Cursor
    """The place after this entry."""
    chat: Chat


@_event("message", kind=1)
class MessageSent(NamedTuple):
    """A message in a chat of the user, sent by the peer or by the user."""

    cursor: Cursor
    chat: Chat
    message: Message


# Kind 3 is taken, too: SQL stores keep the read marker of the user with the higher id under it.
@_event("read", kind=2)
class MarkerMoved(NamedTuple):
    """A read marker moved: the peer's, or the user's own, on another device."""

    cursor: Cursor
    chat: Chat
    reader: User
    seq: int
    """The number of the message read last."""


@_event("reset")
class Reset(NamedTuple):
    """Events before the cursor are lost: reload the state, for example with `Messenger.sync`.
    The events after the cursor follow."""

    cursor: Cursor


Entry = ChatOpened | MessageSent | MarkerMoved
"""An event that the log stores."""

Event = Entry | Reset
