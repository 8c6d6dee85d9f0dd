"""Stores that break one promise of idempotency keys each, with the check that catches it."""

import asyncio
import hashlib
from dataclasses import replace

from chatcore import KeyReused, NewMessage, Sent
from chatcore.testing import ChatStoreCheck, keys
from chatcore_memory import MemoryStore


class ForgetsOldKeys(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        by_key = self.contents.chats[new.chat_id].by_key
        while len(by_key) > 100:
            del by_key[next(iter(by_key))]
        return sent


class ReplaysWithTheNewTime(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        message, replayed = await super().append_message(new)
        return Sent(message._replace(sent_us=new.sent_us), replayed)


class ReplaysRaiseTheChat(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        self.contents.chats[new.chat_id].activity = self._next_activity()
        return sent


class LooksAtTheKeyAlone(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        entry = self.contents.chats[new.chat_id]
        first = entry.by_key.get((new.sender_id, new.idempotency_key or ""))
        return await super().append_message(replace(new, text=first.text) if first else new)


class SharesKeysInAChat(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        for (_, key), message in self.contents.chats[new.chat_id].by_key.items():
            if key == new.idempotency_key:
                return Sent(message, replayed=True)
        return await super().append_message(new)


class SharesKeysOfASender(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        for entry in self.contents.chats.values():
            if first := entry.by_key.get((new.sender_id, new.idempotency_key or "")):
                return Sent(first, replayed=True)
        return await super().append_message(new)


class IgnoresTheCaseOfKeys(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        key = new.idempotency_key and new.idempotency_key.lower()
        return await super().append_message(replace(new, idempotency_key=key))


class StripsKeys(MemoryStore):
    """Keeps the last word of a HostKey, which has white space."""

    async def append_message(self, new: NewMessage) -> Sent:
        key = new.idempotency_key and new.idempotency_key.split()[-1]
        return await super().append_message(replace(new, idempotency_key=key))


class RacesForKeys(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        key = new.sender_id, new.idempotency_key or ""
        if key not in self.contents.chats[new.chat_id].by_key:
            await asyncio.sleep(0)
            self.contents.chats[new.chat_id].by_key.pop(key, None)
        return await super().append_message(new)


class TakesTheTextForAKey(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        key = new.idempotency_key or hashlib.sha256(new.text.encode()).hexdigest()
        return await super().append_message(replace(new, idempotency_key=key))


class ComparesStoredTexts(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        return await super().append_message(replace(new, submitted=None))


class StoresTheSubmittedText(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        return await super().append_message(replace(new, text=new.submitted or new.text))


class TakesTheStoredTextForARequest(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        first = self.contents.chats[new.chat_id].by_key.get((new.sender_id, "key"))
        if first and first.text == new.text:
            return Sent(first, replayed=True)
        return await super().append_message(new)


class StoresWhatItLooksUp(MemoryStore):
    async def replay_of(self, new: NewMessage) -> Sent | None:
        sent = await self.append_message(new)
        return sent if sent.replayed else None


class FindsReplaysByTheKeyAlone(MemoryStore):
    async def replay_of(self, new: NewMessage) -> Sent | None:
        record = self.contents.chats.get(new.chat_id)
        key = new.sender_id, new.idempotency_key or ""
        first = record.by_key.get(key) if record else None
        return first and Sent(first, replayed=True)


class FindsReplaysByTheStoredText(MemoryStore):
    async def replay_of(self, new: NewMessage) -> Sent | None:
        record = self.contents.chats.get(new.chat_id)
        key = new.sender_id, new.idempotency_key or ""
        first = record.by_key.get(key) if record else None
        if first and first.text != new.text:
            raise KeyReused
        return first and Sent(first, replayed=True)


class FindsNoReplaysInClosedChats(MemoryStore):
    async def replay_of(self, new: NewMessage) -> Sent | None:
        sent = await super().replay_of(new)
        lo, hi = self.contents.chats[new.chat_id].chat.users if sent else (None, None)
        return None if lo and hi and self._are_apart(lo.id, hi.id) else sent


FAULTS: dict[type[MemoryStore], ChatStoreCheck] = {
    ForgetsOldKeys: keys.a_replay_gives_the_first_message,
    ReplaysWithTheNewTime: keys.a_replay_gives_the_first_message,
    ReplaysRaiseTheChat: keys.a_replay_changes_nothing,
    LooksAtTheKeyAlone: keys.a_known_key_with_another_text_is_refused,
    SharesKeysInAChat: keys.a_key_is_scoped_to_its_sender_and_chat,
    SharesKeysOfASender: keys.a_key_is_scoped_to_its_sender_and_chat,
    IgnoresTheCaseOfKeys: keys.keys_are_compared_exactly,
    StripsKeys: keys.a_host_key_is_apart_from_every_other_key,
    RacesForKeys: keys.of_simultaneous_messages_with_a_key_one_is_stored,
    ComparesStoredTexts: keys.replays_are_compared_as_submitted,
    StoresTheSubmittedText: keys.replays_are_compared_as_submitted,
    TakesTheStoredTextForARequest: keys.replays_are_compared_as_submitted,
    StoresWhatItLooksUp: keys.a_replay_is_found_without_sending,
    FindsReplaysByTheKeyAlone: keys.a_replay_is_found_without_sending,
    FindsReplaysByTheStoredText: keys.a_replay_is_found_as_submitted,
    FindsNoReplaysInClosedChats: keys.a_replay_is_found_as_submitted,
    TakesTheTextForAKey: keys.messages_without_key_are_no_replays,
}
