"""Stores with one fault each, which the model test must find."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from chatcore import Chat, Message, NewMessage, Sent, StoreUnavailable
from chatcore.events import MessageSent
from chatcore_memory import MemoryStore
from tests.support.planted.people import GivesHandlesAgain, PutsOneByOne, RenamesInEveryRealm
from tests.support.planted.sessions import EndsTheSessionsOfAnybody, IgnoresOldTokens, RacesToRenew


class Renumbers(MemoryStore):
    """Numbers messages from the start of the page, in chats of 20 messages or more."""

    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        page = await super().messages_after(chat_id, seq, limit=limit)
        if await self.last_seq(chat_id) < 20:
            return page
        return [message._replace(seq=number) for number, message in enumerate(page, start=1)]


class ForgetsKeys(MemoryStore):
    """Forgets a key after 50 further messages."""

    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        if sent.replayed and await self.last_seq(new.chat_id) > sent.message.seq + 50:
            del self.contents.chats[new.chat_id].by_key[new.sender_id, new.idempotency_key or ""]
            return await super().append_message(new)
        return sent


class LosesOneIn500(MemoryStore):
    """Loses every 500th message, and acknowledges it."""

    def __init__(self) -> None:
        super().__init__()
        self._sends = 0

    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        self._sends += not sent.replayed
        if self._sends % 500 == 0 and not sent.replayed:
            self.contents.chats[new.chat_id].messages.pop()
        return sent


class RacesForPairs(MemoryStore):
    """Checks whether the pair has a chat, and opens it a moment later."""

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        pair = min(user_id, peer_id), max(user_id, peer_id)
        free = pair not in self.contents.chats_by_pair
        await asyncio.sleep(0)
        if free:
            self.contents.chats_by_pair.pop(pair, None)
        return await super().open_chat(user_id, peer_id, opened_us)


class RacesForKeys(MemoryStore):
    """Checks for the key, and stores a moment later."""

    async def append_message(self, new: NewMessage) -> Sent:
        entry = self.contents.chats.get(new.chat_id)
        key = new.sender_id, new.idempotency_key or ""
        free = entry is not None and key not in entry.by_key
        await asyncio.sleep(0)
        if entry is not None and free:
            entry.by_key.pop(key, None)
        return await super().append_message(new)


class ShowsLate(MemoryStore):
    """Shows an acknowledged message only a moment later."""

    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        entry = self.contents.chats[new.chat_id]
        if not sent.replayed and sent.message in entry.messages:
            entry.messages.remove(sent.message)
            loop = asyncio.get_running_loop()
            loop.call_soon(entry.messages.insert, sent.message.seq - 1, sent.message)
        return sent


class TornByCancellation(MemoryStore):
    """A cancelled call may leave a chat active without a message."""

    async def append_message(self, new: NewMessage) -> Sent:
        if entry := self.contents.chats.get(new.chat_id):
            entry.activity = self._next_activity()
            await asyncio.sleep(0)
        return await super().append_message(new)


class FailsAndDoubles(MemoryStore):
    """Stores a message twice and reports an unknown outcome."""

    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        if not sent.replayed and sent.message.seq % 20 == 0:
            await super().append_message(replace(new, idempotency_key=None))
            raise StoreUnavailable
        return sent


class LogsReplays(MemoryStore):
    """Logs a message again when its key is replayed."""

    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        if sent.replayed:
            chat = self.contents.chats[new.chat_id].chat
            self._add_entries(chat.users, 0, lambda cursor: MessageSent(cursor, chat, sent.message))
        return sent


class TellsOnlyTheSender(MemoryStore):
    """Omits one message in 50 from the log of the peer."""

    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        if not sent.replayed and sent.message.seq % 50 == 0:
            chat = self.contents.chats[new.chat_id].chat
            [peer] = [user for user in chat.users if user.id != new.sender_id]
            log = self._log_of(peer.id)
            log.entries.pop()
            log.end = log.end._replace(n=log.end.n - 1)
        return sent


class SendsToTheErased(MemoryStore):
    """Appends to the chat of an erased user."""

    async def append_message(self, new: NewMessage) -> Sent:
        erased, self.contents.erased = self.contents.erased, set()
        try:
            return await super().append_message(new)
        finally:
            self.contents.erased = erased


class ComparesStoredTexts(MemoryStore):
    """Compares retries with the stored text, not with the submitted one."""

    async def append_message(self, new: NewMessage) -> Sent:
        return await super().append_message(replace(new, submitted=None))


WRONG_STORES = [
    Renumbers,
    ForgetsKeys,
    LosesOneIn500,
    RacesForPairs,
    RacesForKeys,
    ShowsLate,
    TornByCancellation,
    FailsAndDoubles,
    LogsReplays,
    TellsOnlyTheSender,
    RenamesInEveryRealm,
    GivesHandlesAgain,
    PutsOneByOne,
    SendsToTheErased,
    ComparesStoredTexts,
    RacesToRenew,
    IgnoresOldTokens,
    EndsTheSessionsOfAnybody,
]
