"""What chatcore needs from the world, and what it is promised.

Adapters implement these Protocols; they need not inherit from them. Errors are nominal:
an adapter raises the classes of `chatcore.errors`. `chatcore.testing` checks the promises.

Promises of every store method:

- It is one atomic step: concurrent callers, in this process or another that shares the
  store, see all of it or nothing.
- When it returns, what it wrote is durable (as far as the store is durable at all) and
  visible to every later call.
- A refusal changes nothing.
- When the store fails it raises StoreUnavailable, and Overloaded when it takes no more
  work. After StoreUnavailable from a writing method, the write happened or did not.
- Cancelling the caller never tears the step: it happens whole or not at all.

Ids are positive integers below 2**63 and are never given twice. An id or name that the
store does not know is no error unless the method says so. Times are microseconds since
1970-01-01 UTC.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from chatcore.events import Cursor, Entry
from chatcore.model import Chat, ChatState, ChatSummary, Message, NewMessage, Sent, User
from chatcore.names import UserName

__all__ = [
    "MAX_PAGE",
    "AccountStore",
    "BlockList",
    "ChatStore",
    "Claims",
    "Credentials",
    "Directory",
    "Doorbell",
    "EventLog",
    "PasswordHasher",
    "TokenIssuer",
]

MAX_PAGE = 500
"""The largest `limit` that a store must serve."""


class Directory(Protocol):
    """Who is who."""

    async def user_by_name(self, canonical: str) -> User | None:
        """The user with this canonical name (`canonical_name`), or None."""
        ...

    async def user_by_id(self, user_id: int) -> User | None:
        """The user with this id, or None."""
        ...


class Credentials(NamedTuple):
    user: User
    password_hash: str
    tokens_from_us: int = 0
    """Tokens issued before this time are void."""


class AccountStore(Directory, Protocol):
    """Users who log in with a password."""

    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        """Register a user under a name that nobody has or ever had.

        Of any number of simultaneous calls with one canonical name, exactly one succeeds.
        Raises NameTaken when a user with that canonical name exists or was erased.
        """
        ...

    async def credentials(self, canonical: str) -> Credentials | None:
        """What the user with this canonical name logs in with; None without such a user, and
        for one that was erased."""
        ...

    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        """The same by id."""
        ...

    async def replace_password_hash(self, user_id: int, old: str, new: str) -> None:
        """Store `new`, if `old` is still what is stored; otherwise do nothing."""
        ...

    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        """Raise the user's `tokens_from_us` to `from_us`, or by a second if that is more: it
        grows with every call. With a password hash, store that in the same step.

        Returns the new `tokens_from_us`. Raises UserNotFound, also for an erased user.
        """
        ...

    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        """Take the account away, for good. The user goes on under the name `tombstone`, so
        that others can tell whose messages they read, and has no password, log or blocks any
        more. Messages and chats stay; nothing can be sent in these chats, nor opened anew.

        Nobody gets the former name again. Raises UserNotFound, also when the user was erased
        before, and NameTaken for the tombstone as `add_user` does.
        """
        ...


class EventLog(Protocol):
    """What happened to each user, as numbered entries.

    Every method that opens a chat, appends a message or moves a read marker adds an entry to
    the logs of both users, in its own step: when it returns they are there, and a reader who
    sees an entry sees what it tells of. A refusal, a replay and a marker that stays where it is
    add nothing. The entries of one log are numbered 1, 2, 3, … without gaps; a reader never
    sees a number before it sees all the smaller ones. Of two steps of which one began after
    the other had returned, the later one has the larger number.
    """

    async def end_of_log(self, user_id: int) -> Cursor:
        """The place after the newest entry; at 0 while the log is empty."""
        ...

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        """The first `limit` (1 to MAX_PAGE) entries after the cursor, ascending.

        None when they cannot be told: the cursor is from another store, lies beyond the end, or
        some of what followed it has been trimmed.
        """
        ...

    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        """Forget old entries: all but a log's newest `keep`, and those logged before
        `since_us`; the newest one always stays.

        One call does a bounded part of the work, beginning with the smallest user id above
        `after_user`, and returns what to pass as `after_user` next; None when all is done.
        """
        ...


class BlockList(Protocol):
    """Who wants to hear nothing more of whom."""

    async def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        """From now on `user_id` blocks `peer_id`: of a send, an opening or a move of a read
        marker that begins after this has returned, neither hears from the other. Nothing
        changes when that is so already.

        Raises SelfChat when both ids are the same; else UserNotFound when either is unknown or
        was erased.
        """
        ...

    async def unblock(self, user_id: int, peer_id: int) -> None:
        """From now on `user_id` does not block `peer_id`; nothing changes when that is so
        already. What the peer blocks stays."""
        ...

    async def blocked_by(self, user_id: int, *, after: int, limit: int) -> Sequence[User]:
        """The first `limit` (1 to MAX_PAGE) users whom this one blocks, of those with ids above
        `after`, by ascending id."""
        ...


class ChatStore(Directory, EventLog, BlockList, Protocol):
    """Chats, their messages, and who has read up to where."""

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        """Open the chat of two users; the pair has no order.

        Of any number of simultaneous calls for one pair, from either side, exactly one
        succeeds. Raises SelfChat when both ids are the same; else UserNotFound when either
        is unknown; else ChatExists when the pair has a chat; else UserNotFound when either
        was erased or blocks the other.
        """
        ...

    async def chat_by_id(self, chat_id: int) -> Chat | None:
        """The chat with this id, or None."""
        ...

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        """The chat of this user and the user with the canonical name `peer`, or None."""
        ...

    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        """Up to `limit` (1 to MAX_PAGE) of the user's chats, the most recently active first.

        With `before`, only chats whose activity is smaller: exclusive. Reading page after
        page, each with the last activity of the page before it, shows every chat that was
        not active meanwhile exactly once.
        """
        ...

    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        """The same chats as `chats_of`, in the same order, as the user finds them. Each is
        consistent in itself: its last message, markers and unread count are of one moment."""
        ...

    async def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        """One chat as the user finds it; None when there is none or the user is not in it."""
        ...

    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        """Move the user's read marker forward to `seq` (at least 0), or to the chat's last
        message if that is less. Returns where the marker is then, which is where it was if
        that is not further on.

        While one of the two blocks the other or was erased, the peer is not told: no entry in
        the peer's log, and the `peer_read_seq` that the peer sees stays, until a later move.

        Raises ChatNotFound when there is no such chat or the user is not in it.
        """
        ...

    async def append_message(self, new: NewMessage) -> Sent:
        """Give the message the next number of its chat and store it.

        Numbers are 1, 2, 3, … without gaps, in an order that agrees with every caller's own
        sequence of calls: a call made after another returned gets the larger number.
        A reader never sees a number before it sees all the smaller ones.

        With an idempotency key that this sender used in this chat before, however long ago,
        nothing is stored and the first message comes back, `replayed`; if its text is
        another, KeyReused. Of simultaneous calls with one key, exactly one stores.

        Raises ChatNotFound when there is no such chat or the sender is not in it, and, but for
        a replay, when one of the two was erased or blocks the other.
        """
        ...

    async def last_seq(self, chat_id: int) -> int:
        """The number of the chat's newest message; 0 without messages or chat."""
        ...

    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        """The first `limit` (1 to MAX_PAGE) messages numbered above `seq`, ascending."""
        ...

    async def messages_before(
        self, chat_id: int, seq: int | None, *, limit: int
    ) -> Sequence[Message]:
        """The last `limit` (1 to MAX_PAGE) messages numbered below `seq`, ascending.

        None stands for the end of the chat.
        """
        ...


class Doorbell(Protocol):
    """Tells listeners that a user's log may have grown. No more than a hint: rings may be lost,
    doubled, late or early, and listeners look for themselves every few seconds."""

    def ring(self, user_ids: Iterable[int]) -> None:
        """Wake who listens for these users, here and wherever else the store is used. Returns
        at once and raises nothing."""
        ...

    def listen(self, user_id: int, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake`, on the event loop of this call, at every ring for the user, until the
        function that is returned is called, once. `wake` returns at once and raises nothing."""
        ...


class PasswordHasher(Protocol):
    """Turns passwords into something that is safe to store.

    Passwords arrive as valid UTF-8 text of at most 1,024 bytes, in NFC, without NUL. Every
    method but `needs_rehash` may raise Overloaded when too many callers wait.
    """

    async def hash(self, password: str) -> str:
        """A salted hash, different at every call. The event loop is not blocked."""
        ...

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether the hash was made from this password.

        With None, False, after the work that a hash made today costs: a caller cannot tell
        an unknown user from a wrong password by the time it takes. A hash that is not one
        gives False too.
        """
        ...

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        ...


class Claims(NamedTuple):
    """What a valid token says. The times are aware."""

    user_id: int
    issued_at: datetime
    """The `now` of its issue, with or without the fraction of a second."""
    expires_at: datetime


class TokenIssuer(Protocol):
    """Makes tokens that only it, or another with the same secret, can make.

    `now` is an aware datetime, of any time zone.
    """

    def issue(self, user_id: int, now: datetime) -> str:
        """A token for the user, visible ASCII."""
        ...

    def verify(self, token: str, now: datetime) -> Claims:
        """What the token says. Raises InvalidToken unless it was issued here, says what was
        issued, and has not expired: valid before `expires_at`, not at it. Any string may be
        passed. Another spelling of a token (of base64, say) may pass for it."""
        ...
