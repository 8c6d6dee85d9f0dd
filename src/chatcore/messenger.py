"""Messenger: chats, their messages and events."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from chatcore import chat_cache
from chatcore.bound import BoundMessenger, bound_store
from chatcore.changes import changes_of
from chatcore.chat_cache import ChatCache
from chatcore.doorbell import LocalDoorbell
from chatcore.errors import (
    ChatExists,
    ChatNotFound,
    InvalidPage,
    InvalidSeq,
    MessageNotFound,
    SelfChat,
    UserNotFound,
)
from chatcore.events import Cursor
from chatcore.following import POLL_SECONDS, Following
from chatcore.gate import POLICY_SECONDS, Gate
from chatcore.handles import lookup_key
from chatcore.listing import all_chats
from chatcore.markers import Markers
from chatcore.model import (
    MAX_INT64,
    Chat,
    ChatState,
    ChatSummary,
    Clock,
    Message,
    NewMessage,
    Sent,
    User,
    to_microseconds,
    utc_now,
)
from chatcore.opening import open_or_find
from chatcore.people import HostUsers
from chatcore.policy import Actor
from chatcore.ports import MAX_PAGE, ChatStore, Doorbell, Policy
from chatcore.reading import read_all, read_page
from chatcore.results import Opened, Page, Snapshot

KEPT_EVENTS = 10_000
KEPT_DAYS = 30


class Messenger:
    """Opens chats, sends and reads messages, and follows events.

    `doorbell` is for a store that other processes or Messengers use, too: without it, only events
    made through this Messenger are delivered at once, and the others within `poll_seconds`.

    `realm` names a host whose own users chat: 1 to 256 visible characters, such as the host's name
    or the issuer of its tokens. `user` adds them, and handles are the host's ids. Two realms of one
    store never meet. Without a realm, the users are those of `Accounts`, and handles are names.
    Raises ValueError for an invalid realm, TypeError for a realm on a store that is not a People.

    `policy` is asked before a chat is opened or a message is sent, and must answer within
    `policy_seconds`. It learns from `actor` on whose behalf that happens.

    `changes` announces each user that a method renamed or erased. A host that ended a user's
    session may announce the user, too: `messenger.changes.announce(user.id)` ends the streams, and
    the next request is authenticated again.

    A user who is not in a chat gets ChatNotFound for it, as if it did not exist. Every method
    may raise Unavailable.
    """

    def __init__(
        self,
        store: ChatStore,
        *,
        realm: str = "",
        doorbell: Doorbell | None = None,
        clock: Clock = utc_now,
        poll_seconds: float = POLL_SECONDS,
        policy: Policy | None = None,
        policy_seconds: float = POLICY_SECONDS,
    ) -> None:
        if not (poll_seconds > 0 and policy_seconds > 0):
            raise ValueError("poll_seconds and policy_seconds must be above 0")
        self.changes = changes_of(store)
        self._realm = realm
        self._host_users = HostUsers(store, realm, clock, self.changes)
        self._store = store
        self._doorbell = doorbell or LocalDoorbell()
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._gate = None if policy is None else Gate(policy, store, policy_seconds)
        self._markers = Markers(store, clock, self._ring)
        # Every send and every page by name looks up a chat.
        self._chat_cache = ChatCache()
        self.changes.subscribe(self._chat_cache.user_changed)
        self.changes.subscribe_failovers(self._chat_cache.clear)
        self.changes.subscribe_failovers(self._markers.forget)

    async def user(self, handle: str, *, name: str) -> User:
        """Return the host's user with this handle, 1 to 128 visible characters, for example the id
        in the host's own table. Add the user if there is none; rename the user if the name, 1 to
        256 characters without controls, differs. Call it at any time: without a change it costs
        one read.

        A new name shows at once in this process, and within 60 s in others. Raises InvalidHandle,
        InvalidName, UserErased, and ValueError if this Messenger has no realm.
        """
        return await self._host_users.put(handle, name)

    async def users(self, names: Mapping[str, str]) -> dict[str, User]:
        """Do what `user` does for each handle and name, in atomic pieces of 500. Returns the users
        by handle, in the same order. Raises as `user` does: an invalid handle or name before the
        first piece, UserErased after the pieces before it."""
        return await self._host_users.put_all(names)

    async def erase(self, user: User) -> User:
        """Erase a user of the host, for good: `Erasure.erase_user` says what stays. Returns the
        user with the tombstone name that others see from now on. The handle stays retired. Raises
        UserNotFound, and ValueError for a user of another realm, or with an account."""
        return await self._host_users.erase(user)

    async def find_user(self, handle: str, *, realm: str | None = None) -> User:
        """Return the user with this handle in the realm, by default the Messenger's. In the empty
        realm, the handle is the user's name in any spelling. Raises UserNotFound."""
        key = lookup_key(self._realm if realm is None else realm, handle)
        user = await self._store.user_by_name(key) if key else None
        if user is None:
            raise UserNotFound
        return user

    async def open_chat(self, user: User, peer: User, *, actor: Actor = Actor.USER) -> Chat:
        """Open the chat of two users. Raises ChatExists, SelfChat, UserNotFound, also if their
        realms differ or one blocks the other or was erased, and, for the policy, PolicyRefused."""
        if user.realm != peer.realm:
            raise UserNotFound
        if self._gate is not None:
            await self._expect_no_chat(user, peer)
            await self._gate.may_open(user, peer, actor)
        chat = await self._store.open_chat(user.id, peer.id, to_microseconds(self._clock()))
        self._ring(chat)
        return chat

    async def _expect_no_chat(self, user: User, peer: User) -> None:
        if user.id == peer.id:
            raise SelfChat
        if await self._store.chat_with(user.id, peer.key) is not None:
            raise ChatExists

    async def ensure_chat(self, user: User, peer: User, *, actor: Actor = Actor.USER) -> Opened:
        """Return the chat of two users; open it if they have none. Raises as `open_chat` does,
        except for ChatExists."""
        opening = self.open_chat(user, peer, actor=actor)
        return await open_or_find(opening, self._store, user, peer)

    async def chat(self, user: User, chat_id: int) -> Chat:
        """Return the chat with this id. Raises ChatNotFound."""
        key = user.id, chat_id
        cached = self._chat_cache.chats()
        chat = cached.get(key)
        if chat is None:
            chat = await self._store.chat_by_id(chat_id) if 0 < chat_id <= MAX_INT64 else None
            if chat is None:
                raise ChatNotFound
            chat.peer_of(user)
            chat_cache.add(cached, key, chat)
        return chat

    async def chat_with(self, user: User, handle: str) -> Chat:
        """Return the chat of `user` with the user of that handle in the realm of `user`. In the
        empty realm, the handle is the peer's name in any spelling. Raises ChatNotFound, also if no
        user has that handle."""
        key = user.id, handle
        cached = self._chat_cache.chats()
        chat = cached.get(key)
        if chat is None:
            peer = lookup_key(user.realm, handle)
            chat = await self._store.chat_with(user.id, peer) if peer else None
            if chat is None:
                raise ChatNotFound
            chat_cache.add(cached, key, chat)
        return chat

    def forget_names(self) -> None:
        """Empty the cache of chats. Needed only for a user that was erased or renamed with another
        store object than this Messenger's; on the same store object it happens by itself. The
        former name of a user that another process changed may appear for up to a minute."""
        self._chat_cache.clear()

    async def block(self, user: User, peer: User) -> None:
        """Let `user` block `peer`. Until `unblock`, neither can open a chat with the other, send to
        the other or see the other's read marker move, and no error says why. Their chat stays
        readable. Idempotent. Raises SelfChat, UserNotFound, also if their realms differ."""
        if user.realm != peer.realm:
            raise UserNotFound
        await self._store.block(user.id, peer.id, to_microseconds(self._clock()))

    async def unblock(self, user: User, peer: User) -> None:
        """End the block of `peer` by `user`. Idempotent."""
        await self._store.unblock(user.id, peer.id)

    async def blocked_by(
        self, user: User, *, after: int = 0, limit: int = MAX_PAGE
    ) -> Sequence[User]:
        """Return up to `limit` (1 to 500) of the users that `user` blocks, by ascending id; only
        ids above `after`, 0 to 2**63 - 1. Raises InvalidPage."""
        if not 1 <= limit <= MAX_PAGE or not 0 <= after <= MAX_INT64:
            raise InvalidPage
        return await self._store.blocked_by(user.id, after=after, limit=limit)

    async def list_chats(self, user: User) -> list[ChatSummary]:
        """Return every chat of the user, each once, the most recently active first."""
        return await all_chats(self._store, user.id)

    async def send(
        self, sender: User, chat: Chat, text: str, *, actor: Actor = Actor.USER
    ) -> Message:
        """Append a message. When this returns, the message is stored durably, exactly once, with
        the text that the policy made of `text`.

        Raises InvalidText, PolicyRefused, and ChatNotFound if the sender is not in the chat or one
        of the two blocks the other or was erased.
        """
        return (await self._append(sender, chat, text, None, actor)).message

    async def send_once(
        self, sender: User, chat: Chat, text: str, key: str, *, actor: Actor = Actor.USER
    ) -> Sent:
        """Append a message once for this sender, chat and idempotency key: a retry, at any later
        time, returns the first message, even if the policy would refuse it now.

        Raises as `send` does, InvalidKey, and KeyReused if `text` differs.
        """
        return await self._append(sender, chat, text, key, actor)

    async def _append(
        self, sender: User, chat: Chat, text: str, key: str | None, actor: Actor
    ) -> Sent:
        new = NewMessage(chat.id, sender.id, text, to_microseconds(self._clock()), key)
        if self._gate is not None:
            chat.peer_of(sender)
            passed = await self._gate.may_send(new, sender, chat, actor)
            if isinstance(passed, Sent):
                return passed
            new = passed
        sent = await self._store.append_message(new)
        if not sent.replayed:
            self._ring(chat)
        return sent

    def _ring(self, chat: Chat) -> None:
        first, second = chat.users
        self._doorbell.ring((first.id, second.id))

    def within(self, connection: Any) -> BoundMessenger:
        """Open chats and send within your own transaction, `messenger.within(session).send(…)`:
        an AsyncConnection or AsyncSession of SQLAlchemy, in the PostgreSQL database of the store
        (docs/transactions.md). Raises TypeError for another store, which needs an outbox."""
        store = bound_store(self._store, connection)
        return BoundMessenger(store, self._gate, self._clock, self._doorbell)

    async def page(
        self,
        user: User,
        chat: Chat,
        *,
        before: int | None = None,
        after: int | None = None,
        around: int | None = None,
        limit: int = 50,
    ) -> Page:
        """Return up to `limit` (1 to 500) messages: the last ones before the number `before`, the
        first ones after the number `after`, or those around the number `around` (half of the
        limit below it, the rest from it on); without any of these, the newest messages.

        `before` and `after` are exclusive. Numbers range from 0 to 2**63 - 1. Raises InvalidPage
        outside these ranges, and for two of the numbers at once.
        """
        chat.peer_of(user)
        return await read_page(self._store, chat.id, before, after, around, limit)

    async def message(self, user: User, chat: Chat, seq: int) -> Message:
        """Return one message. Raises InvalidSeq, MessageNotFound."""
        chat.peer_of(user)
        if not 1 <= seq <= MAX_INT64:
            raise InvalidSeq
        # Numbers have no gaps: the first message after `seq - 1` is `seq`.
        found = await self._store.messages_after(chat.id, seq - 1, limit=1)
        if not found:
            raise MessageNotFound
        return found[0]

    async def history(self, user: User, chat: Chat) -> AsyncIterator[Sequence[Message]]:
        """Yield the whole chat, oldest message first, in pieces of 1 to 500 messages, up to the
        newest message at the start of the reading.

        Only one piece is in memory, so a slow reader costs nothing.
        """
        chat.peer_of(user)
        async for piece in read_all(self._store, chat.id):
            yield piece

    async def states(
        self, user: User, *, before: int | None = None, limit: int = 50
    ) -> Sequence[ChatState]:
        """Return up to `limit` (1 to 500) of the user's chats as the user sees them, the most
        recently active first; with `before`, only chats with a smaller activity.

        Pages that each pass the last activity of the previous page show every chat without
        activity between the calls exactly once. Raises InvalidPage.
        """
        if not 1 <= limit <= MAX_PAGE or (before is not None and not 0 <= before <= MAX_INT64):
            raise InvalidPage
        return await self._store.chat_states(user.id, before=before, limit=limit)

    async def state(self, user: User, chat_id: int) -> ChatState:
        """Return one chat as the user sees it. Raises ChatNotFound."""
        possible = 0 < chat_id <= MAX_INT64
        state = await self._store.chat_state(user.id, chat_id) if possible else None
        if state is None:
            raise ChatNotFound
        return state

    async def mark_read(self, user: User, chat: Chat, seq: int) -> int:
        """Move the user's read marker to `seq`, 0 to 2**63 - 1. Returns the marker after the move.

        The marker only moves forward, and not beyond the last message. It moves at most once a
        second, so that no client can flood a peer's log: an earlier call waits. Sending moves no
        marker. Raises InvalidSeq.
        """
        chat.peer_of(user)
        if not 0 <= seq <= MAX_INT64:
            raise InvalidSeq
        return await self._markers.move(chat, user, seq)

    async def sync(self, user: User) -> Snapshot:
        """Return the present state, and the cursor from which to follow later events."""
        # The cursor first: an event between the two reads appears twice rather than never.
        cursor = await self._store.end_of_log(user.id)
        return Snapshot(cursor, await self.states(user, limit=100))

    def follow(self, user: User, *, after: Cursor | str | None = None) -> Following:
        """Yield the user's events after the cursor, past and future, in ascending order, each once:
        `async for event in messenger.follow(user, after=cursor)`.

        Without a cursor, begin at the first wait for an event. A void cursor (malformed, another
        user's, another store's, or so old that later events have been trimmed) yields a Reset
        first, and then the events after it.
        """
        # No store's log has this name.
        void = Cursor("", user.id, 0)
        if isinstance(after, str):
            after = Cursor.parse(after) or void
        if after is not None and after.user_id != user.id:
            after = void
        return Following(self._store, self._doorbell, user, after, self._poll_seconds)

    async def trim_logs(
        self, *, keep: int = KEPT_EVENTS, age: timedelta = timedelta(days=KEPT_DAYS)
    ) -> None:
        """Delete events older than `age`, and all but the newest `keep` events of each user. Call
        it regularly. A cursor before a deleted event yields a Reset."""
        since_us = to_microseconds(self._clock() - age)
        after_user: int | None = 0
        while after_user is not None:
            after_user = await self._store.trim_logs(
                keep=keep, since_us=since_us, after_user=after_user
            )
