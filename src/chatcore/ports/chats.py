"""The ports of chats: conversations, event logs and blocks."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from chatcore.events import Cursor, Entry
from chatcore.model import Chat, ChatState, ChatSummary, Message, NewMessage, Sent, User
from chatcore.ports.users import Directory

MAX_PAGE = 500
"""The largest `limit` that a store must serve."""


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

    A store that may lose its newest entries, and then give their numbers again, marks the cursors
    of its entries (`mark_of`), so that one of a lost entry is void. Others may leave the mark out.
    """

    async def end_of_log(self, user_id: int) -> Cursor:
        """Return the cursor after the newest entry; number 0 while the log is empty."""
        ...

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        """Return the first `limit` (1 to MAX_PAGE) entries after the cursor, ascending.

        None for a void cursor: it is from another store, lies beyond the end, has a mark that is
        not that of its entry, or some entries after it have been trimmed. A cursor without a mark
        is compared by its number alone, and so is one whose entry is trimmed.

        An entry is returned whole or not at all: where its message or chat is missing, as on a
        server that lags, the entries end before it. Raises StoreUnavailable if it is the first.
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
        `NewMessage.digest`, even if the stored text is the same. The store keeps the digest of each
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
