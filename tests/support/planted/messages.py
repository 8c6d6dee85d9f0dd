"""Stores of messages that break one promise each, with the check that catches it."""

import asyncio
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from chatcore import Message, NewMessage, Refused, Sent
from chatcore.testing import ChatStoreCheck, messages, numbering, pages
from chatcore_memory import MemoryStore


class CallsEveryMessageAReplay(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        return (await super().append_message(new))._replace(replayed=True)


class StripsTexts(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        return await super().append_message(replace(new, text=new.text.strip()))


class NormalisesTexts(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        text = unicodedata.normalize("NFC", new.text)
        return await super().append_message(replace(new, text=text))


class RewritesLineEnds(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        text = new.text.replace("\r\n", "\n")
        return await super().append_message(replace(new, text=text))


class CutsTextsAt4096Bytes(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        text = new.text.encode()[:4096].decode(errors="ignore")
        return await super().append_message(replace(new, text=text))


class KeepsSeconds(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        sent_us = new.sent_us // 1_000_000 * 1_000_000
        return await super().append_message(replace(new, sent_us=sent_us))


class KeepsMilliseconds(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        return await super().append_message(replace(new, sent_us=new.sent_us // 1000 * 1000))


class FailsWholeBatches(MemoryStore):
    """Refuse all messages sent at the same time when one is refused."""

    refusal: Refused | None = None
    waiting = 0

    async def append_message(self, new: NewMessage) -> Sent:
        self.waiting += 1
        try:
            return await super().append_message(new)
        except Refused as error:
            self.refusal = error
            raise
        finally:
            await asyncio.sleep(0)
            self.waiting -= 1
            refusal = self.refusal
            if self.waiting == 0:
                self.refusal = None
            if refusal:
                raise refusal


class RacesForNumbers(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        seq = await self.last_seq(new.chat_id) + 1
        await asyncio.sleep(0)
        sent = await super().append_message(new)
        return _renumber(self, sent, seq)


class CountsOverAllChats(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        return _renumber(
            self, sent, sum(len(entry.messages) for entry in self.contents.chats.values())
        )


class NumbersBeforeItChecks(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._numbers = defaultdict[int, int](int)

    async def append_message(self, new: NewMessage) -> Sent:
        self._numbers[new.chat_id] += 1
        return _renumber(self, await super().append_message(new), self._numbers[new.chat_id])


class TurnsOddAndEven(MemoryStore):
    """Give one user's messages the odd numbers and the other's the even numbers."""

    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        first, _ = self.contents.chats[new.chat_id].chat.users
        own = sum(it.sender_id == new.sender_id for it in self._messages_of(new.chat_id))
        return _renumber(self, sent, 2 * own - (new.sender_id == first.id))


class ShowsEveryFifthLate(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._late = set[Message]()

    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        page = await super().messages_after(chat_id, seq, limit=limit)
        late = {it for it in page if it.seq % 5 == 0} - self._late
        self._late |= late
        return [it for it in page if it not in late]


class TellsNumbersAhead(MemoryStore):
    async def last_seq(self, chat_id: int) -> int:
        return await super().last_seq(chat_id) + 1


class NumbersBeforeItWaits(NumbersBeforeItChecks):
    async def append_message(self, new: NewMessage) -> Sent:
        self._numbers[new.chat_id] += 1
        seq = self._numbers[new.chat_id]
        await asyncio.sleep(0)
        return _renumber(self, await MemoryStore.append_message(self, new), seq)


class StaysLocked(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._lock = asyncio.Lock()

    async def append_message(self, new: NewMessage) -> Sent:
        await self._lock.acquire()
        await asyncio.sleep(0)
        sent = await super().append_message(new)
        self._lock.release()
        return sent


class ReadsTheCursorAgain(MemoryStore):
    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        return await super().messages_after(chat_id, max(seq - 1, 0), limit=limit)


class ReadsOneMessageTooMany(MemoryStore):
    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        return await super().messages_after(chat_id, seq, limit=limit + 1)


class ReadsUpToTheCursor(MemoryStore):
    async def messages_before(
        self, chat_id: int, seq: int | None, *, limit: int
    ) -> Sequence[Message]:
        return await super().messages_before(chat_id, seq and seq + 1, limit=limit)


class ReadsBackwards(MemoryStore):
    async def messages_before(
        self, chat_id: int, seq: int | None, *, limit: int
    ) -> Sequence[Message]:
        return (await super().messages_before(chat_id, seq, limit=limit))[::-1]


class ReadsFromTheBeginning(MemoryStore):
    async def messages_before(
        self, chat_id: int, seq: int | None, *, limit: int
    ) -> Sequence[Message]:
        return [it for it in self._messages_of(chat_id) if seq is None or it.seq < seq][:limit]


class CapsPagesAt100(MemoryStore):
    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        return await super().messages_after(chat_id, seq, limit=min(limit, 100))


class ReadsEveryChat(MemoryStore):
    def _messages_of(self, chat_id: int) -> list[Message]:
        return [message for entry in self.contents.chats.values() for message in entry.messages]


def _renumber(store: MemoryStore, sent: Sent, seq: int) -> Sent:
    messages = store.contents.chats[sent.message.chat_id].messages
    messages[-1] = sent.message._replace(seq=seq)
    return Sent(messages[-1], sent.replayed)


FAULTS: dict[type[MemoryStore], ChatStoreCheck] = {
    CallsEveryMessageAReplay: messages.messages_are_read_as_they_were_sent,
    StripsTexts: messages.texts_are_kept_exactly,
    NormalisesTexts: messages.texts_are_kept_exactly,
    RewritesLineEnds: messages.texts_are_kept_exactly,
    CutsTextsAt4096Bytes: messages.texts_are_kept_exactly,
    KeepsSeconds: messages.times_are_kept_to_the_microsecond,
    KeepsMilliseconds: messages.times_are_kept_to_the_microsecond,
    FailsWholeBatches: messages.a_refused_message_disturbs_no_other,
    RacesForNumbers: numbering.simultaneous_messages_have_no_gaps,
    CountsOverAllChats: numbering.every_chat_has_its_own_numbers,
    NumbersBeforeItChecks: numbering.a_refused_message_takes_no_number,
    TurnsOddAndEven: numbering.later_messages_have_larger_numbers,
    ShowsEveryFifthLate: numbering.a_follower_misses_nothing,
    TellsNumbersAhead: numbering.a_follower_misses_nothing,
    NumbersBeforeItWaits: numbering.cancelled_messages_are_whole,
    StaysLocked: numbering.cancelled_messages_are_whole,
    ReadsTheCursorAgain: pages.messages_after_are_the_next_ones,
    ReadsOneMessageTooMany: pages.messages_after_are_the_next_ones,
    ReadsUpToTheCursor: pages.messages_before_are_the_last_ones,
    ReadsBackwards: pages.messages_before_are_the_last_ones,
    ReadsFromTheBeginning: pages.messages_before_are_the_last_ones,
    CapsPagesAt100: pages.a_page_holds_up_to_500_messages,
    ReadsEveryChat: pages.every_chat_has_its_own_pages,
}
