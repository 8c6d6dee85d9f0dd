"""Stores whose event logs break one promise each, with the check that catches it."""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence

from chatcore import Chat, ChatExists, Cursor, MarkerMoved, MessageSent, NewMessage, Sent, User
from chatcore.events import Entry
from chatcore.testing import ChatStoreCheck, cursors, events
from chatcore_memory import MemoryStore

MakeEntry = Callable[[Cursor], Entry]


class NamesLogsAnew(MemoryStore):
    async def end_of_log(self, user_id: int) -> Cursor:
        return (await super().end_of_log(user_id))._replace(log=secrets.token_hex(8))


class BeginsAt1(MemoryStore):
    async def end_of_log(self, user_id: int) -> Cursor:
        end = await super().end_of_log(user_id)
        return end.at(max(end.n, 1))


class LogsForOneOfThem(MemoryStore):
    def _add_entries(self, users: Iterable[User], at_us: int, make: MakeEntry) -> None:
        super()._add_entries([*users][:1] * 2, at_us, make)


class LogsNoMarkers(MemoryStore):
    def _add_entries(self, users: Iterable[User], at_us: int, make: MakeEntry) -> None:
        if not isinstance(make(Cursor("", 1, 1)), MarkerMoved):
            super()._add_entries(users, at_us, make)


class TellsTheNumberAsked(MemoryStore):
    asked = 0

    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        self.asked = seq
        return await super().move_read_marker(chat_id, user_id, seq, moved_us)

    def _add_entries(self, users: Iterable[User], at_us: int, make: MakeEntry) -> None:
        super()._add_entries(users, at_us, lambda cursor: _of_marker(make(cursor), seq=self.asked))


class TakesThePeerForTheReader(MemoryStore):
    def _add_entries(self, users: Iterable[User], at_us: int, make: MakeEntry) -> None:
        super()._add_entries(users, at_us, lambda cursor: self._of_peer(make(cursor)))

    def _of_peer(self, entry: Entry) -> Entry:
        if isinstance(entry, MarkerMoved):
            return _of_marker(entry, reader=entry.chat.peer_of(entry.reader))
        return entry


def _of_marker(entry: Entry, seq: int | None = None, reader: User | None = None) -> Entry:
    if not isinstance(entry, MarkerMoved):
        return entry
    return entry._replace(
        seq=entry.seq if seq is None else seq, reader=entry.reader if reader is None else reader
    )


class NumbersAllLogsTogether(MemoryStore):
    def _add_entries(self, users: Iterable[User], at_us: int, make: MakeEntry) -> None:
        top = max((log.end.n for log in self.contents.logs.values()), default=0)
        for user in users:
            log = self.contents.logs[user.id] = self._log_of(user.id)
            log.end = log.end.at(top)
        super()._add_entries(users, at_us, make)


class LogsReplays(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        if sent.replayed:
            chat = self.contents.chats[new.chat_id].chat
            self._add_entries(
                chat.users, new.sent_us, lambda cursor: MessageSent(cursor, chat, sent.message)
            )
        return sent


class LogsUnmovedMarkers(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        if user_id in self.contents.accounts and self.contents.chats[chat_id].has(user_id):
            self.contents.chats[chat_id].read.pop(user_id, None)
        return await super().move_read_marker(chat_id, user_id, seq, moved_us)


class LogsRefusedOpenings(MemoryStore):
    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        try:
            return await super().open_chat(user_id, peer_id, opened_us)
        except ChatExists:
            for user in (user_id, peer_id):
                end = self.contents.logs[user].end
                self.contents.logs[user].end = end.at(end.n + 1)
            raise


class ReadsTheCursorsEntry(MemoryStore):
    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        return await super().events_after(after.at(max(after.n - 1, 0)), limit=limit)


class ReadsOneEntryTooMany(MemoryStore):
    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        return await super().events_after(after, limit=limit + 1)


class CapsLogPagesAt100(MemoryStore):
    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        return await super().events_after(after, limit=min(limit, 100))


class KnowsTheFuture(MemoryStore):
    """Accept a cursor beyond the end, as if the log were that long."""

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        end = await self.end_of_log(after.user_id)
        return [] if after.n > end.n else await super().events_after(after, limit=limit)


class ReadsCursorsOfOthers(MemoryStore):
    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        return await super().events_after(after._replace(log=self.contents.log_name), limit=limit)


class IgnoresMarks(MemoryStore):
    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        return await super().events_after(after.at(after.n), limit=limit)


class InsistsOnMarks(MemoryStore):
    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        unmarked = after.n and after.mark is None
        return None if unmarked else await super().events_after(after, limit=limit)


class MarksByNumber(MemoryStore):
    """Mark what a lost entry and the next one with its number have in common."""

    def _add_entries(self, users: Iterable[User], at_us: int, make: MakeEntry) -> None:
        super()._add_entries(users, at_us, make)
        for user in users:
            log = self.contents.logs[user.id]
            at_us, entry = log.entries.pop()
            log.end = log.end.at(log.end.n, log.end.n)
            log.entries.append((at_us, entry._replace(cursor=log.end)))


class ForgetsTheMarkOfTheEnd(MemoryStore):
    async def end_of_log(self, user_id: int) -> Cursor:
        end = await super().end_of_log(user_id)
        return end.at(end.n)


class RacesForPlaces(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        ends = {user_id: log.end.n for user_id, log in self.contents.logs.items()}
        await asyncio.sleep(0)
        sent = await super().append_message(new)
        for user in self.contents.chats[new.chat_id].chat.users:
            log = self.contents.logs[user.id]
            log.end = log.end._replace(n=ends[user.id] + 1)
            at_us, entry = log.entries[-1]
            log.entries[-1] = at_us, entry._replace(cursor=log.end)
        return sent


class LogsEachTurnBackwards(MemoryStore):
    """Log simultaneous events in one step, the last first."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[Iterable[User], int, MakeEntry]] = []

    def _add_entries(self, users: Iterable[User], at_us: int, make: MakeEntry) -> None:
        self._waiting.append((users, at_us, make))

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        chat = await super().open_chat(user_id, peer_id, opened_us)
        await self._log_all()
        return chat

    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        await self._log_all()
        return sent

    async def _log_all(self) -> None:
        await asyncio.sleep(0)
        while self._waiting:
            super()._add_entries(*self._waiting.pop())


class LogsLater(MemoryStore):
    def _add_entries(self, users: Iterable[User], at_us: int, make: MakeEntry) -> None:
        asyncio.get_running_loop().call_soon(super()._add_entries, users, at_us, make)


class LogsOneChatFirst(MemoryStore):
    """Put the entry of a chat with a smaller id before the newest entry."""

    def _add_entries(self, users: Iterable[User], at_us: int, make: MakeEntry) -> None:
        super()._add_entries(users, at_us, make)
        for user in users:
            entries = self.contents.logs[user.id].entries
            if len(entries) > 1 and entries[-2][1].chat.id > entries[-1][1].chat.id:
                (_, late), (_, early) = entries[-2], entries[-1]
                entries[-2] = at_us, early._replace(cursor=late.cursor)
                entries[-1] = at_us, late._replace(cursor=early.cursor)


class ShowsEveryFifthEntryLate(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._shown = set[Cursor]()

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        page = await super().events_after(after, limit=limit)
        late = {it.cursor for it in page or () if it.cursor.n % 5 == 0} - self._shown
        self._shown |= late
        return page and [it for it in page if it.cursor not in late]


class TellsTheEndAhead(MemoryStore):
    async def end_of_log(self, user_id: int) -> Cursor:
        end = await super().end_of_log(user_id)
        return end._replace(n=end.n + (end.n > 3))


class LogsBeforeItStores(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        messages = self.contents.chats[new.chat_id].messages
        place = messages.index(sent.message)
        messages[place] = sent.message._replace(text="")
        await asyncio.sleep(0)
        messages[place] = sent.message
        return sent


class LogsInAStepOfItsOwn(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._unlogged: list[tuple[Iterable[User], int, MakeEntry]] = []

    def _add_entries(self, users: Iterable[User], at_us: int, make: MakeEntry) -> None:
        self._unlogged.append((users, at_us, make))

    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        unlogged = self._unlogged.pop()
        await asyncio.sleep(0)
        super()._add_entries(*unlogged)
        return sent

    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        marker = await super().move_read_marker(chat_id, user_id, seq, moved_us)
        while self._unlogged:
            super()._add_entries(*self._unlogged.pop())
        return marker


class LogsForOneAfterTheOther(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        ends = {user_id: log.end.n for user_id, log in self.contents.logs.items()}
        marker = await super().move_read_marker(chat_id, user_id, seq, moved_us)
        log = self.contents.logs[user_id]
        if log.end.n > ends[user_id]:
            at_us, entry = log.entries.pop()
            log.end = log.end._replace(n=ends[user_id])
            await asyncio.sleep(0)
            log.end = log.end._replace(n=log.end.n + 1)
            log.entries.append((at_us, entry._replace(cursor=log.end)))
        return marker


FAULTS: dict[type[MemoryStore], ChatStoreCheck] = {
    NamesLogsAnew: events.an_empty_log_ends_at_zero,
    BeginsAt1: events.an_empty_log_ends_at_zero,
    LogsForOneOfThem: events.both_logs_record_every_step,
    LogsNoMarkers: events.both_logs_record_every_step,
    TellsTheNumberAsked: events.both_logs_record_every_step,
    TakesThePeerForTheReader: events.both_logs_record_every_step,
    NumbersAllLogsTogether: events.both_logs_record_every_step,
    LogsReplays: events.refusals_and_replays_are_not_logged,
    LogsUnmovedMarkers: events.refusals_and_replays_are_not_logged,
    LogsRefusedOpenings: events.refusals_and_replays_are_not_logged,
    ReadsTheCursorsEntry: events.pages_of_a_log_are_the_next_entries,
    ReadsOneEntryTooMany: events.pages_of_a_log_are_the_next_entries,
    CapsLogPagesAt100: events.a_page_holds_up_to_500_entries,
    KnowsTheFuture: cursors.a_void_cursor_gives_none,
    ReadsCursorsOfOthers: cursors.a_void_cursor_gives_none,
    IgnoresMarks: cursors.a_cursor_is_void_with_another_mark,
    InsistsOnMarks: events.pages_of_a_log_are_the_next_entries,
    MarksByNumber: cursors.a_cursor_is_void_with_another_mark,
    ForgetsTheMarkOfTheEnd: events.both_logs_record_every_step,
    RacesForPlaces: events.simultaneous_steps_are_each_logged_once,
    LogsEachTurnBackwards: events.simultaneous_steps_are_each_logged_once,
    LogsLater: events.later_steps_have_larger_numbers,
    LogsOneChatFirst: events.later_steps_have_larger_numbers,
    ShowsEveryFifthEntryLate: events.a_reader_of_a_log_misses_nothing,
    TellsTheEndAhead: events.a_reader_of_a_log_misses_nothing,
    LogsBeforeItStores: events.a_reader_of_a_log_misses_nothing,
    LogsInAStepOfItsOwn: events.cancelled_steps_are_logged_whole,
    LogsForOneAfterTheOther: events.cancelled_steps_are_logged_whole,
}
