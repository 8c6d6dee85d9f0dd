"""Messenger: chats and the messages in them."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from chatcore.errors import ChatNotFound, InvalidPage, UserNotFound
from chatcore.model import (
    Chat,
    ChatSummary,
    Clock,
    Message,
    NewMessage,
    Sent,
    User,
    to_microseconds,
    utc_now,
)
from chatcore.names import lookup_name
from chatcore.ports import MAX_PAGE, ChatStore

MAX_SEQ = 2**63 - 1
MAX_FOUND = 10_000


class Page(NamedTuple):
    """A stretch of a chat, oldest message first."""

    messages: Sequence[Message]
    older: bool
    """Whether messages precede this page."""
    newer: bool
    """Whether messages follow this page."""


class Messenger:
    """Opens chats, sends, reads.

    Whoever is not in a chat gets ChatNotFound for it, as if it did not exist. Every method
    may raise Unavailable.
    """

    def __init__(self, store: ChatStore, *, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock
        # A chat never changes once opened, and every send and page by name asks for one.
        self._found: dict[tuple[int, str], Chat] = {}

    async def find_user(self, name: str) -> User:
        """The user whose name has the same canonical form. Raises UserNotFound."""
        canonical = lookup_name(name)
        user = await self._store.user_by_name(canonical) if canonical else None
        if user is None:
            raise UserNotFound
        return user

    async def open_chat(self, user: User, peer: User) -> Chat:
        """Open the chat of two users. Raises ChatExists, UserNotFound, SelfChat."""
        return await self._store.open_chat(user.id, peer.id, to_microseconds(self._clock()))

    async def chat_with(self, user: User, peer_name: str) -> Chat:
        """The chat of `user` with the user of that name. Raises ChatNotFound, also when
        nobody has that name."""
        asked = user.id, peer_name
        chat = self._found.get(asked)
        if chat is None:
            canonical = lookup_name(peer_name)
            chat = await self._store.chat_with(user.id, canonical) if canonical else None
            if chat is None:
                raise ChatNotFound
            if len(self._found) >= MAX_FOUND:
                # The oldest entry, since dictionaries keep their order.
                self._found.pop(next(iter(self._found)), None)
            self._found[asked] = chat
        return chat

    async def list_chats(self, user: User) -> list[ChatSummary]:
        """Every chat of the user, each once, the most recently active first."""
        found: dict[int, ChatSummary] = {}
        covered = 0
        while True:
            page = await self._store.chats_of(user.id, before=None, limit=MAX_PAGE)
            if len(page) < MAX_PAGE and not found:
                return list(page)
            found |= {summary.chat.id: summary for summary in page}
            if len(page) < MAX_PAGE or page[-1].activity <= covered:
                return sorted(found.values(), key=lambda summary: summary.activity, reverse=True)
            top = page[0].activity
            while len(page) == MAX_PAGE and (last := page[-1].activity) > covered:
                page = await self._store.chats_of(user.id, before=last, limit=MAX_PAGE)
                found |= {summary.chat.id: summary for summary in page}
            # A chat that became active between two pages was on neither: it is above them all
            # now. Only a round of one page, which is one step, has no such gap.
            covered = top

    async def send(self, sender: User, chat: Chat, text: str) -> Message:
        """Append a message. When this returns it is stored, durably, once.

        Raises InvalidText and, when the sender is not in the chat, ChatNotFound.
        """
        return (await self._append(sender, chat, text, None)).message

    async def send_once(self, sender: User, chat: Chat, text: str, key: str) -> Sent:
        """Append a message that can be sent again without harm, at any later time: the same
        sender, chat and idempotency key give the first message back.

        Raises as `send` does, InvalidKey, and KeyReused when the text differs.
        """
        return await self._append(sender, chat, text, key)

    async def _append(self, sender: User, chat: Chat, text: str, key: str | None) -> Sent:
        now = to_microseconds(self._clock())
        return await self._store.append_message(NewMessage(chat.id, sender.id, text, now, key))

    async def page(
        self,
        user: User,
        chat: Chat,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> Page:
        """Up to `limit` (1 to 500) messages: the last ones before the number `before`, the
        first ones after the number `after`, or, with neither, the newest.

        Cursors are exclusive, from 0 to 2**63 - 1. Raises InvalidPage for other numbers or
        for both cursors at once.
        """
        chat.peer_of(user)
        cursors = [cursor for cursor in (before, after) if cursor is not None]
        if len(cursors) > 1 or not 1 <= limit <= MAX_PAGE:
            raise InvalidPage
        if any(not 0 <= cursor <= MAX_SEQ for cursor in cursors):
            raise InvalidPage
        # Numbers have no gaps: most of what lies around a page is known without asking.
        if after is None:
            messages = await self._store.messages_before(chat.id, before, limit=limit)
            older = bool(messages) and messages[0].seq > 1
            newer = before is not None and max(before, 1) <= await self._store.last_seq(chat.id)
            return Page(messages, older, newer)
        messages = await self._store.messages_after(chat.id, after, limit=limit)
        if not messages:
            older = after > 0 and await self._store.last_seq(chat.id) > 0
            return Page(messages, older, newer=False)
        full = len(messages) == limit
        newer = full and messages[-1].seq < await self._store.last_seq(chat.id)
        return Page(messages, older=messages[0].seq > 1, newer=newer)

    async def history(self, user: User, chat: Chat) -> AsyncIterator[Sequence[Message]]:
        """The whole chat, oldest first, in pieces of at most 500 messages, none of them
        empty, up to the newest message at the time the reading starts.

        Nothing is held between the pieces, so a slow reader costs nothing.
        """
        chat.peer_of(user)
        piece = await self._store.messages_after(chat.id, 0, limit=MAX_PAGE)
        if not piece:
            return
        last = piece[-1].seq
        if len(piece) == MAX_PAGE:
            last = await self._store.last_seq(chat.id)
        yield piece
        while (seq := piece[-1].seq) < last:
            piece = await self._store.messages_after(chat.id, seq, limit=min(MAX_PAGE, last - seq))
            yield piece
