"""Users, chats and messages.

What comes out of a store (`User`, `Chat`, `Message`, …) is a NamedTuple: frozen, without a
`__dict__`, and three times cheaper to make than a frozen dataclass, which a page of
messages feels. What goes into a store (`NewMessage`, and `UserName` of `names.py`) is a
dataclass that checks itself, so an invalid one cannot exist.

Times are kept as whole microseconds since 1970-01-01 UTC and shown as aware datetimes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from chatcore.errors import ChatNotFound, InvalidKey, InvalidText

MAX_INT64 = 2**63 - 1
"""The largest id, number of a message or event, and `activity`: what databases store."""

MAX_TEXT = 4096
MAX_KEY = 128

Clock = Callable[[], datetime]
"""Tells the present as an aware datetime."""

Seconds = Callable[[], float]
"""Tells seconds since some moment; never steps back."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    return datetime.now(UTC)


elapsed: Seconds = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
"""Seconds since some moment, for how long something remembered is trusted. They never step back, as
`utc_now` may, and on Linux count while the machine sleeps."""


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC, exactly. A naive datetime is a TypeError."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(moment_us: int) -> datetime:
    """The aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=moment_us)


class User(NamedTuple):
    """Someone who can chat."""

    id: int
    name: str
    """As typed at registration; `UserName(name).canonical` is what is compared."""


class Chat(NamedTuple):
    """A conversation of exactly two users. Once opened, nothing of it changes but the name of a
    user who is erased."""

    id: int
    users: tuple[User, User]
    """In ascending order of their ids."""

    def peer_of(self, user: User) -> User:
        """The other one. Raises ChatNotFound when `user` is not in this chat."""
        first, second = self.users
        if user.id == first.id:
            return second
        if user.id == second.id:
            return first
        raise ChatNotFound

    def sender_of(self, message: "Message") -> User:
        first, second = self.users
        return first if message.sender_id == first.id else second


class ChatSummary(NamedTuple):
    """A chat as a list shows it."""

    chat: Chat
    last_seq: int
    """The number of the newest message, which is also their count; 0 without messages."""
    activity: int
    """A positive integer that grows with every opening and message; of two chats that one
    user is in, the more recently active one has the larger value. Means nothing else."""


class ChatState(NamedTuple):
    """A chat as one of its two users finds it."""

    chat: Chat
    activity: int
    """As in ChatSummary."""
    last_message: "Message | None"
    read_seq: int
    """The user's read marker: the number of the message read last, 0 before the first."""
    peer_read_seq: int
    """The peer's, as far as it was told: not while one of the two blocks the other."""
    unread: int
    """Messages after the user's read marker that the peer sent."""


class Message(NamedTuple):
    """A message that has its place in its chat."""

    chat_id: int
    seq: int
    """1, 2, 3, … within the chat, without gaps: the order, and the cursor."""
    sender_id: int
    text: str
    sent_us: int
    """When the sender's service accepted it, in microseconds since 1970-01-01 UTC. Not an
    order: clocks step back."""

    @property
    def sent_at(self) -> datetime:
        """`sent_us` as an aware datetime in UTC."""
        return from_microseconds(self.sent_us)


class Sent(NamedTuple):
    """What became of a send."""

    message: Message
    replayed: bool
    """True when the idempotency key was known: `message` is the one stored back then."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message on its way into a chat.

    `text`: 1 to 4,096 characters (code points), not all white space, no NUL, no lone
    surrogate; kept exactly as given. Otherwise InvalidText.
    `idempotency_key`: 1 to 128 visible ASCII characters, or None. Otherwise InvalidKey.
    """

    chat_id: int
    sender_id: int
    text: str
    sent_us: int
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        text, key = self.text, self.idempotency_key
        if not 1 <= len(text) <= MAX_TEXT:
            raise InvalidText(f"a message has 1 to {MAX_TEXT} characters, not {len(text)}")
        if text.isspace():
            raise InvalidText("a message is more than white space")
        if "\0" in text or not is_encodable(text):
            raise InvalidText("a message has no NUL and no lone surrogate")
        if key is not None and not (
            1 <= len(key) <= MAX_KEY and all("!" <= character <= "~" for character in key)
        ):
            raise InvalidKey(f"an idempotency key is 1 to {MAX_KEY} visible ASCII characters")


def is_encodable(text: str) -> bool:
    """Whether `text` has a UTF-8 form, that is, no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
