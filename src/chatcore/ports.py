"""The ports: interfaces that chatcore needs, and their promises.

Adapters implement these Protocols; they need not inherit from them. Errors are nominal:
an adapter raises the classes of `chatcore.errors`. `chatcore.testing` checks the promises.

Promises of every store method:

- It is one atomic step: concurrent callers, in this process or in another that shares the
  store, see all of it or nothing.
- When it returns, its write is durable (as far as the store is durable at all) and visible to
  every later call.
- A refusal changes nothing.
- It raises StoreUnavailable if the store fails, and Overloaded if the store takes no more work.
  After StoreUnavailable from a writing method, the write happened or did not.
- A cancelled caller leaves a whole step: it happens completely or not at all.

Ids are positive integers below 2**63 and are never reused. An unknown id or key is no error
unless the method says so. Times are microseconds since 1970-01-01 UTC.

A key is the text that identifies a user among all realms: the canonical name of a user with an
account, and for a host's user the realm, U+001F and the handle (`User.key`). Stores keep keys as
they are, compare them byte for byte, and make users of them with `chatcore.user_of`.

An adapter implements as many of the ports as it serves. `Messenger` works on a ChatStore, with a
realm on one that is a People, too; `Accounts` works on an AccountStore. Both are combinations.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

from chatcore.events import Cursor, Entry
from chatcore.handles import Person
from chatcore.model import Chat, ChatState, ChatSummary, Message, NewMessage, Sent, User
from chatcore.names import UserName
from chatcore.policy import Actor, Allow, Draft, Refuse, Rewrite

__all__ = [
    "MAX_PAGE",
    "AccountStore",
    "BlockList",
    "ChatStore",
    "Claims",
    "Conversations",
    "CredentialStore",
    "Credentials",
    "Directory",
    "Doorbell",
    "Erasure",
    "EventLog",
    "PasswordHasher",
    "People",
    "Policy",
    "Put",
    "TokenIssuer",
]

MAX_PAGE = 500
"""The largest `limit` that a store must serve."""


@runtime_checkable
class Directory(Protocol):
    """Users by key and by id."""

    async def user_by_name(self, canonical: str) -> User | None:
        """Return the user with this key, or None. In the empty realm the key is the canonical name
        (`canonical_name`)."""
        ...

    async def user_by_id(self, user_id: int) -> User | None:
        """Return the user with this id, or None."""
        ...


@runtime_checkable
class Erasure(Protocol):
    """The end of a user, with an account or without."""

    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        """Erase the user, for good. The user keeps the id and the realm and gets the name and the
        handle of `tombstone`, so that others can tell whose messages they read. The password, the
        event log and the blocks, by the user and of the user, are deleted. Messages and chats
        stay; a chat of the user takes no new message, and no new chat with the user can be opened.

        The former key is never given again. Raises UserNotFound, also if the user was erased
        before, and NameTaken if a user of the realm has or ever had the tombstone's handle.
        """
        ...


class Put(NamedTuple):
    """A user as `People.put_users` left it."""

    user: User
    renamed: bool
    """Whether the call gave an existing user another name."""


@runtime_checkable
class People(Directory, Erasure, Protocol):
    """Users without accounts: a host adds its own users and renames them."""

    async def users_by_name(self, keys: Sequence[str]) -> Sequence[User]:
        """Return the users with these 1 to MAX_PAGE keys, in any order."""
        ...

    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        """Add each of 1 to MAX_PAGE people, whose keys differ, or rename the user with that key.
        Returns the users in the order of `people`. A user keeps the id. A changed name shows in
        every later result, in earlier chats, lists and events too.

        Of any number of simultaneous calls, all give one user for one key. Raises UserErased if a
        user with one of the keys was erased, and then adds and renames none.
        """
        ...


class Credentials(NamedTuple):
    """A user, and what the store keeps to authenticate the user."""

    user: User
    password_hash: str
    tokens_from_us: int = 0
    """Tokens issued before this time are void."""


@runtime_checkable
class CredentialStore(Protocol):
    """Users who log in with a password. Other users, such as a host's, have no credentials."""

    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        """Register a user under a name that no user has or ever had.

        Of any number of simultaneous calls with one canonical name, exactly one succeeds.
        Raises NameTaken if a user with that canonical name exists or was erased.
        """
        ...

    async def credentials(self, canonical: str) -> Credentials | None:
        """Return the credentials of the user with this canonical name; None if there is no such
        user, or the user has no account or was erased."""
        ...

    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        """Return the credentials of the user with this id; None as for `credentials`."""
        ...

    async def replace_password_hash(self, user_id: int, old: str, new: str) -> None:
        """Replace the stored hash by `new` if it equals `old`; otherwise do nothing."""
        ...

    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        """Raise the user's `tokens_from_us` to `from_us`, or by a second if that is more: it
        grows with every call. Store the password hash, if given, in the same step.

        Returns the new `tokens_from_us`. Raises UserNotFound, also for an erased user and for one
        without an account.
        """
        ...


@runtime_checkable
class AccountStore(Directory, Erasure, CredentialStore, Protocol):
    """Everything that `Accounts` needs."""


@runtime_checkable
class EventLog(Protocol):
    """The event log of each user: numbered entries.

    Every method that opens a chat, appends a message or moves a read marker adds an entry to
    the logs of both users, in its own step: when it returns they are there, and a reader that
    sees an entry also sees the change it records. A read marker that a block or an erasure hides
    adds an entry to the mover's log only. A refusal, a replay and a marker that does not move add
    nothing. The entries of one log are numbered 1, 2, 3, … without gaps; a reader never
    sees a number before all smaller ones. If one step begins after another has returned, its
    entry has the larger number.
    """

    async def end_of_log(self, user_id: int) -> Cursor:
        """Return the cursor after the newest entry; number 0 while the log is empty."""
        ...

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        """Return the first `limit` (1 to MAX_PAGE) entries after the cursor, ascending.

        None for a void cursor: it is from another store, lies beyond the end, or some entries
        after it have been trimmed.
        """
        ...

    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        """Delete old entries: all but a log's newest `keep`, and those logged before `since_us`;
        the newest entry always stays.

        One call does a bounded part of the work, beginning with the smallest user id above
        `after_user`. Returns the `after_user` of the next call; None if all work is done.
        """
        ...


@runtime_checkable
class BlockList(Protocol):
    """Which users block which."""

    async def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        """Let `user_id` block `peer_id`: neither can send to the other, open a chat with the other
        or show the other a moved read marker in a call that begins after this has returned.
        Idempotent.

        Raises SelfChat if both ids are the same; else UserNotFound if either is unknown or was
        erased.
        """
        ...

    async def unblock(self, user_id: int, peer_id: int) -> None:
        """End the block of `peer_id` by `user_id`. Idempotent. A block in the other direction
        stays."""
        ...

    async def blocked_by(self, user_id: int, *, after: int, limit: int) -> Sequence[User]:
        """Return the first `limit` (1 to MAX_PAGE) users that this user blocks with ids above
        `after`, by ascending id."""
        ...


@runtime_checkable
class Conversations(Protocol):
    """Chats, their messages and read markers."""

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        """Open the chat of two users; the pair has no order.

        Of any number of simultaneous calls for one pair, from either side, exactly one
        succeeds. Raises SelfChat if both ids are the same; else UserNotFound if either is
        unknown; else ChatExists if the pair has a chat; else UserNotFound if either was erased
        or blocks the other.
        """
        ...

    async def chat_by_id(self, chat_id: int) -> Chat | None:
        """Return the chat with this id, or None."""
        ...

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        """Return the chat of this user and the user with the key `peer`, or None."""
        ...

    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        """Return up to `limit` (1 to MAX_PAGE) of the user's chats, the most recently active first.

        With `before`, only chats with a smaller activity: exclusive. Pages that each pass the
        last activity of the previous page show every chat without activity between the calls
        exactly once.
        """
        ...

    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        """Return the same chats as `chats_of`, in the same order, as the user sees them. Each state
        is consistent: its last message, markers and unread count are of one moment."""
        ...

    async def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        """Return one chat as the user sees it; None if it is unknown or the user is not in it."""
        ...

    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        """Move the user's read marker forward to `seq` (at least 0), or to the chat's last
        message if that is less; it never moves back. Returns the marker after the call.

        While one of the two blocks the other or was erased, the move is hidden from the peer: it
        adds no entry to the peer's log, and the `peer_read_seq` that the peer sees stays until a
        later move.

        Raises ChatNotFound if there is no such chat or the user is not in it.
        """
        ...

    async def append_message(self, new: NewMessage) -> Sent:
        """Give the message the next number of its chat and store it.

        Numbers are 1, 2, 3, … without gaps. A call made after another returned gets the larger
        number. A reader never sees a number before all smaller ones.

        If this sender used the idempotency key in this chat before, however long ago, nothing is
        stored and the first message is returned as `replayed`. Of simultaneous calls with one
        key, exactly one stores. Raises KeyReused if the request differs: if it has another
        `NewMessage.digest`, whatever the stored text is. The store keeps the digest of each
        message with a key, under 32 random bytes that never change and stay with its data. A
        message from before there were digests is compared by its text. Keys are equal only if they
        are the same text; a HostKey contains spaces.

        Raises ChatNotFound if there is no such chat or the sender is not in it, and, except for
        a replay, if one of the two was erased or blocks the other.
        """
        ...

    async def replay_of(self, new: NewMessage) -> Sent | None:
        """Return what `append_message` would return for a known idempotency key; None for a new
        one, and without a key. Stores nothing. Raises KeyReused as `append_message` does."""
        ...

    async def last_seq(self, chat_id: int) -> int:
        """Return the number of the chat's newest message; 0 without messages or chat."""
        ...

    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        """Return the first `limit` (1 to MAX_PAGE) messages numbered above `seq`, ascending."""
        ...

    async def messages_before(
        self, chat_id: int, seq: int | None, *, limit: int
    ) -> Sequence[Message]:
        """Return the last `limit` (1 to MAX_PAGE) messages numbered below `seq`, ascending.

        Without `seq`, the last messages of the chat.
        """
        ...


@runtime_checkable
class ChatStore(Directory, EventLog, BlockList, Conversations, Protocol):
    """Everything that `Messenger` needs, but for the users of a host (People)."""


@runtime_checkable
class Doorbell(Protocol):
    """Rings for listeners of a user whose event log may have grown. A ring is only a hint: rings
    may be lost, doubled, late or early, so listeners also poll the log every few seconds."""

    def ring(self, user_ids: Iterable[int]) -> None:
        """Wake the listeners of these users in every process that uses the store. Returns at once
        and raises nothing."""
        ...

    def listen(self, user_id: int, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake`, on the event loop of this call, at every ring for the user. Returns the
        function that unsubscribes, to be called once. `wake` returns at once and raises nothing."""
        ...


class Policy(Protocol):
    """The host's rules about which chats may be opened, and what may be sent.

    Asked before anything is numbered or stored; never for a chat that exists or a replay. A block
    or an erasure forbids what the policy allows. Of simultaneous calls for one chat, or with one
    idempotency key, each may be asked.

    An answer must come within a second (`policy_seconds` of Messenger), or its call is cancelled.
    An exception, a late answer and any other object than the answers named here are failures: the
    client gets PolicyUnavailable, and may retry. Calls overlap, and none may block the event loop.
    """

    async def may_open(self, user: User, peer: User, actor: Actor) -> Allow | Refuse:
        """Answer whether `user` may open a chat with `peer`, who is another user."""
        ...

    async def may_send(self, draft: Draft) -> Allow | Rewrite | Refuse:
        """Answer whether the message may be sent, or with which other text."""
        ...


@runtime_checkable
class PasswordHasher(Protocol):
    """Hashes and verifies passwords.

    Passwords arrive as valid UTF-8 text of at most 1,024 bytes, in NFC, without NUL. Every
    method but `needs_rehash` may raise Overloaded if too many callers wait.
    """

    async def hash(self, password: str) -> str:
        """Return a salted hash, different at every call, without blocking the event loop."""
        ...

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether the hash was made from this password.

        False for None, after the work that verifying a new hash costs: the time does not
        distinguish an unknown user from a wrong password. False for a malformed hash, too.
        """
        ...

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether the hash was made with other than the current parameters."""
        ...


class Claims(NamedTuple):
    """The content of a valid token. The times are aware datetimes."""

    user_id: int
    issued_at: datetime
    """The `now` passed to `issue`, with or without the fraction of a second."""
    expires_at: datetime


@runtime_checkable
class TokenIssuer(Protocol):
    """Issues tokens that only an issuer with the same secret can issue.

    `now` is an aware datetime, of any time zone.
    """

    def issue(self, user_id: int, now: datetime) -> str:
        """Return a token for the user, in visible ASCII."""
        ...

    def verify(self, token: str, now: datetime) -> Claims:
        """Return the claims of the token, which may be any string. Raises InvalidToken unless it
        was issued with this secret, is unaltered and has not expired: it is valid before
        `expires_at`, not at it. Another spelling of a valid token (of its base64, say) may be
        valid, too."""
        ...
