"""What a MemoryStore holds."""

import secrets
from collections import deque
from dataclasses import dataclass, field

from chatcore.events import Cursor, Entry
from chatcore.model import Chat, ChatState, ChatSummary, Message, User
from chatcore.ports import Credentials, NewSession


@dataclass(slots=True)
class ChatRecord:
    """A chat with its messages and read markers."""

    chat: Chat
    activity: int
    messages: list[Message] = field(default_factory=list)
    by_key: dict[tuple[int, str], Message] = field(default_factory=dict)
    """By sender id and idempotency key."""
    digests: dict[tuple[int, str], bytes | None] = field(default_factory=dict)
    """Of the requests, by sender id and idempotency key."""
    read: dict[int, int] = field(default_factory=dict)
    """Read markers by user id."""
    shown: dict[int, int] = field(default_factory=dict)
    """Read markers by user id, as the peer sees them."""

    def has(self, user_id: int) -> bool:
        return any(user.id == user_id for user in self.chat.users)

    def state(self, user_id: int) -> ChatState:
        peer = next(user for user in self.chat.users if user.id != user_id)
        read = self.read.get(user_id, 0)
        return ChatState(
            self.chat,
            self.activity,
            self.messages[-1] if self.messages else None,
            read,
            self.shown.get(peer.id, 0),
            sum(message.sender_id == peer.id for message in self.messages[read:]),
        )

    def summary(self) -> ChatSummary:
        return ChatSummary(self.chat, len(self.messages), self.activity)


@dataclass(slots=True)
class LogRecord:
    """A user's event log."""

    end: Cursor
    entries: deque[tuple[int, Entry]] = field(default_factory=deque)
    """The entries that are not trimmed, each with its time."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A device session, as it is after its renewals."""

    new: NewSession
    digest: bytes
    """Of the present refresh token."""
    used_us: int
    expires_us: int
    former: bytes | None = None
    """The digest of the refresh token before, once there was one."""
    salt: bytes | None = None
    """From which the present refresh token was made of the former one."""

    def lasts(self, now_us: int) -> bool:
        return now_us < self.expires_us


@dataclass(slots=True)
class Contents:
    """Everything that a MemoryStore holds."""

    users: dict[int, User] = field(default_factory=dict)
    """By id, erased users too."""
    accounts: dict[int, Credentials] = field(default_factory=dict)
    """By user id, without erased users and users of a host."""
    sessions: dict[str, SessionRecord] = field(default_factory=dict)
    """Device sessions by id."""
    erased: set[int] = field(default_factory=set)
    """The ids of erased users."""
    blocks: dict[int, set[int]] = field(default_factory=dict)
    """By user id: the ids of the users whom this user blocks."""
    ids_by_name: dict[str, int] = field(default_factory=dict)
    """User ids by key, former keys of erased users too."""
    chats: dict[int, ChatRecord] = field(default_factory=dict)
    chats_by_pair: dict[tuple[int, int], ChatRecord] = field(default_factory=dict)
    """By both user ids, the lower one first."""
    chats_by_user: dict[int, list[ChatRecord]] = field(default_factory=dict)
    activity: int = 0
    """The newest activity of any chat."""
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    """Of the digests."""
    log_name: str = field(default_factory=lambda: secrets.token_hex(8))
    logs: dict[int, LogRecord] = field(default_factory=dict)
    """By user id; a log without entries may be missing."""
