"""Sends within a transaction of the host."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from chatcore.errors import ChatExists, SelfChat, UserNotFound
from chatcore.gate import Gate
from chatcore.model import Chat, Clock, Message, NewMessage, Sent, User, to_microseconds
from chatcore.opening import open_or_find
from chatcore.policy import Actor
from chatcore.ports import BoundStore, ChatStore, Doorbell, HostTransactions
from chatcore.results import Opened


class Outgoing(NamedTuple):
    """A message for `BoundMessenger.send_all`."""

    sender: User
    chat: Chat
    text: str
    key: str | None = None
    """An idempotency key, as for `Messenger.send_once`."""


class BoundMessenger:
    """Opens chats and sends messages within a transaction of the host (`Messenger.within`).

    They become visible, and ring, with the host's commit, and vanish with its rollback, also one to
    a savepoint. Until the commit, what a call returns is provisional: show it to no user.

    After any exception nothing of the call remains, and the transaction can go on, unless its
    connection is lost. Every method may raise Unavailable, in bounded time, while another
    transaction holds a chat or a user, and RuntimeError for a call in a wrong order: send all
    messages of a transaction in one `send_all`, after all chats were opened.
    """

    def __init__(
        self, store: BoundStore, gate: Gate | None, clock: Clock, doorbell: Doorbell
    ) -> None:
        self._store = store
        self._gate = None if gate is None else gate.on(store)
        self._clock = clock
        self._doorbell = doorbell

    async def open_chat(self, user: User, peer: User, *, actor: Actor = Actor.USER) -> Chat:
        """Open the chat of two users. Raises as `Messenger.open_chat` does."""
        if user.realm != peer.realm:
            raise UserNotFound
        if user.id == peer.id:
            raise SelfChat
        if self._gate is not None:
            if await self._store.chat_with(user.id, peer.key) is not None:
                raise ChatExists
            await self._gate.may_open(user, peer, actor)
        chat = await self._store.open_chat(user.id, peer.id, to_microseconds(self._clock()))
        self._ring([chat])
        return chat

    async def ensure_chat(self, user: User, peer: User, *, actor: Actor = Actor.USER) -> Opened:
        """Return the chat of two users; open it if they have none. A chat that exists is not held.
        Raises as `open_chat` does, except for ChatExists."""
        if user.realm != peer.realm:
            raise UserNotFound
        # Asked first, because an attempt to open holds both users.
        chat = await self._store.chat_with(user.id, peer.key)
        if chat is not None:
            return Opened(chat, created=False)
        opening = self.open_chat(user, peer, actor=actor)
        return await open_or_find(opening, self._store, user, peer)

    async def send(
        self, sender: User, chat: Chat, text: str, *, actor: Actor = Actor.USER
    ) -> Message:
        """Append a message. Raises as `Messenger.send` does."""
        [sent] = await self.send_all([Outgoing(sender, chat, text)], actor=actor)
        return sent.message

    async def send_once(
        self, sender: User, chat: Chat, text: str, key: str, *, actor: Actor = Actor.USER
    ) -> Sent:
        """Append a message once for this sender, chat and idempotency key. A transaction under way
        that uses the key is waited for. Raises as `Messenger.send_once` does."""
        [sent] = await self.send_all([Outgoing(sender, chat, text, key)], actor=actor)
        return sent

    async def send_all(
        self, messages: Sequence[Outgoing], *, actor: Actor = Actor.USER
    ) -> list[Sent]:
        """Append all messages or, after an exception, none; those of one chat in the given order.
        Returns the outcomes in the order of `messages`. Raises as `send_once` does, for the first
        message that is refused.

        The policy is asked for each message, one after the other, before anything is held.
        """
        now_us = to_microseconds(self._clock())
        outcomes: list[Sent | None] = []
        passed: list[NewMessage] = []
        for sender, chat, text, key in messages:
            new = NewMessage(chat.id, sender.id, text, now_us, key)
            replay = None
            if self._gate is not None:
                chat.peer_of(sender)
                answer = await self._gate.may_send(new, sender, chat, actor)
                if isinstance(answer, Sent):
                    replay = answer
                else:
                    new = answer
            outcomes.append(replay)
            if replay is None:
                passed.append(new)
        appended = iter(await self._store.append_messages(passed) if passed else ())
        sent = [next(appended) if outcome is None else outcome for outcome in outcomes]
        self._ring([it.chat for it, each in zip(messages, sent, strict=True) if not each.replayed])
        return sent

    def _ring(self, chats: Sequence[Chat]) -> None:
        users = {user.id for chat in chats for user in chat.users}
        if users:
            self._store.after_commit(partial(self._doorbell.ring, users))


def bound_store(store: ChatStore, connection: Any) -> BoundStore:
    """Return the store within the transaction of this connection. Raises TypeError if the store
    cannot write there."""
    if not isinstance(store, HostTransactions):
        raise TypeError(
            f"{type(store).__name__} cannot write in a transaction of yours: use an outbox "
            "(docs/outbox.md), or keep chatcore's tables in your PostgreSQL database"
        )
    return store.bound(connection)
