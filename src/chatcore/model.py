"""Users, chats and messages.

The output of a store (`User`, `Chat`, `Message`, …) is a NamedTuple: frozen, without a `__dict__`,
and three times cheaper to make than a frozen dataclass, which counts for a page of messages. The
input of a store (`NewMessage`, and `UserName` of `names.py`) is a dataclass that validates
itself, so an invalid one cannot exist.

Times are kept as whole microseconds since 1970-01-01 UTC and shown as aware datetimes.
"""

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal, NamedTuple, Self, get_args

from chatcore.errors import ChatNotFound, InvalidKey, InvalidText

MAX_INT64 = 2**63 - 1
"""The largest id, number of a message or event, and `activity`: what databases store."""

MAX_TEXT = 4096
MAX_KEY = 128

Clock = Callable[[], datetime]
"""Returns the current time as an aware datetime."""

Seconds = Callable[[], float]
"""Returns seconds since an arbitrary moment; never steps back."""

KEY_SEPARATOR = "\x1f"
"""Stands between realm and handle in a key; neither can contain it."""

KeyPurpose = Literal["outbox", "import", "host"]
"""What a HostKey is for; names of different purposes never collide."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    return datetime.now(UTC)


elapsed: Seconds = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
"""The clock for the age of cache entries. Unlike `utc_now` it never steps back; on Linux it also
counts while the machine sleeps."""


def to_microseconds(moment: datetime) -> int:
    """Return microseconds since 1970-01-01 UTC, exactly. Raises TypeError for a naive datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(moment_us: int) -> datetime:
    """Return the aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=moment_us)


class User(NamedTuple):
    """A user, or the tombstone of an erased one."""

    id: int
    handle: str
    """The text by which others address the user, unique within the realm: for an account the
    canonical name, for a host's user the host's own id."""
    name: str
    """The text to show: as typed at registration, or as the host gave it last."""
    realm: str = ""
    """The realm of the handle: empty for chatcore's own accounts, else the host's."""

    @property
    def key(self) -> str:
        """The text that identifies the user among all realms (`key_of`)."""
        return key_of(self.realm, self.handle)


def key_of(realm: str, handle: str) -> str:
    """Return the key of a handle: the handle itself in the empty realm, else the realm, a
    separator and the handle. Stores compare keys byte for byte."""
    return f"{realm}{KEY_SEPARATOR}{handle}" if realm else handle


def user_of(user_id: int, key: str, name: str) -> User:
    """Return the user that a store keeps under this key."""
    if KEY_SEPARATOR in key:
        realm, _, handle = key.partition(KEY_SEPARATOR)
        return User(user_id, handle, name, realm)
    return User(user_id, key, name)


class Chat(NamedTuple):
    """A conversation of exactly two users. Once opened, it never changes, but for the names
    and handles of its users."""

    id: int
    users: tuple[User, User]
    """In ascending order of user ids."""

    def peer_of(self, user: User) -> User:
        """Return the other user. Raises ChatNotFound if `user` is not in this chat."""
        first, second = self.users
        if user.id == first.id:
            return second
        if user.id == second.id:
            return first
        raise ChatNotFound

    def sender_of(self, message: "Message") -> User:
        """Return the user who sent a message of this chat."""
        first, second = self.users
        return first if message.sender_id == first.id else second


class ChatSummary(NamedTuple):
    """A chat as an item of a list."""

    chat: Chat
    last_seq: int
    """The number of the newest message, and so the count of messages; 0 without messages."""
    activity: int
    """A positive integer that grows when the chat is opened and with every message. Of two chats of
    one user, the more recently active chat has the larger value. It has no other meaning."""


class ChatState(NamedTuple):
    """A chat as one of its two users sees it."""

    chat: Chat
    activity: int
    """As in ChatSummary."""
    last_message: "Message | None"
    read_seq: int
    """The user's read marker: the number of the message read last, 0 before the first."""
    peer_read_seq: int
    """The peer's read marker, without moves made while one of the two blocks the other."""
    unread: int
    """The count of the peer's messages after the user's read marker."""


class Message(NamedTuple):
    """A stored message, numbered within its chat."""

    chat_id: int
    seq: int
    """1, 2, 3, … within the chat, without gaps: the order, and the cursor."""
    sender_id: int
    text: str
    sent_us: int
    """When the service accepted it, in microseconds since 1970-01-01 UTC. Not an order: clocks step
    back."""

    @property
    def sent_at(self) -> datetime:
        """`sent_us` as an aware datetime in UTC."""
        return from_microseconds(self.sent_us)


class Sent(NamedTuple):
    """The outcome of a send."""

    message: Message
    replayed: bool
    """True if the idempotency key was used before: `message` is the one stored then."""


class HostKey(str):
    """An idempotency key that the host gives. No key of a client can equal it.

    As text it is a space, the purpose, a space and `name`, 1 to 128 visible ASCII characters; a
    client's key has no space. Raises InvalidKey for another name.
    """

    __slots__ = ()

    def __new__(cls, purpose: KeyPurpose, name: str) -> Self:
        if purpose not in get_args(KeyPurpose):
            raise ValueError(f"not the purpose of a key: {purpose!r}")
        if not _is_key(name):
            raise InvalidKey(f"the name of a key is 1 to {MAX_KEY} visible ASCII characters")
        return super().__new__(cls, f" {purpose} {name}")

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        # For pickle and copy, which would otherwise pass the whole text.
        _, purpose, name = self.split(" ")
        return purpose, name


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to append to a chat.

    `text`: 1 to 4,096 characters (code points), not all white space, no NUL, no lone
    surrogate; kept exactly as given. Raises InvalidText otherwise.
    `idempotency_key`: 1 to 128 visible ASCII characters, a HostKey, or None. Raises InvalidKey
    otherwise.
    `submitted`: the text as the client submitted it, if a policy replaced it by `text`; the same
    rules.
    """

    chat_id: int
    sender_id: int
    text: str
    sent_us: int
    idempotency_key: str | None = None
    submitted: str | None = None

    def __post_init__(self) -> None:
        _check_text(self.text)
        if self.submitted is not None:
            _check_text(self.submitted)
        key = self.idempotency_key
        if key is not None and not _is_key(key) and not isinstance(key, HostKey):
            raise InvalidKey(f"an idempotency key is 1 to {MAX_KEY} visible ASCII characters")

    def digest(self, secret: bytes) -> bytes | None:
        """Return 32 bytes that stand for all that the client set: equal for equal requests, and
        without the secret they say nothing about them. None without an idempotency key."""
        if self.idempotency_key is None:
            return None
        text = self.text if self.submitted is None else self.submitted
        return hmac.digest(secret, _request(self.idempotency_key.encode(), text.encode()), "sha256")


def _request(key: bytes, text: bytes) -> bytes:
    """The fields that a client sets, each after its length, after a version.

    Digests are kept for ever: another field comes with another version, for messages that have it.
    """
    return b"\x01%b%b%b%b" % (len(key).to_bytes(4), key, len(text).to_bytes(4), text)


def _check_text(text: str) -> None:
    if not 1 <= len(text) <= MAX_TEXT:
        raise InvalidText(f"a message has 1 to {MAX_TEXT} characters, not {len(text)}")
    if text.isspace():
        raise InvalidText("a message is more than white space")
    if "\0" in text or not is_encodable(text):
        raise InvalidText("a message has no NUL and no lone surrogate")


def _is_key(text: str) -> bool:
    """Whether `text` can be the key of a client."""
    # A loop over the characters would cost more than the digest.
    return 1 <= len(text) <= MAX_KEY and text.isascii() and text.isprintable() and " " not in text


def is_encodable(text: str) -> bool:
    """Whether `text` has a UTF-8 form, that is, no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
