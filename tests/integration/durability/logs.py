"""Checks the users' event logs, and the counts stored beside the messages."""

import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chatcore.events import ChatOpened, Cursor, Entry, MessageSent
from chatcore.ports import MAX_PAGE, EventLog
from chatcore_sqlalchemy.schema import HI_READ, LO_READ, OPENED, SENT
from tests.integration.durability.model import Model


@dataclass
class Readers:
    """A reader for each user, who continues in the log where the last reading ended."""

    read: dict[int, list[Entry]] = field(default_factory=dict)

    async def read_on(self, log: EventLog, model: Model) -> list[str]:
        """The faults: the log lacks what the model has, or is out of order."""
        wrong = []
        for user_id in model.users:
            if user_id in model.erased:
                if (await log.end_of_log(user_id)).n:
                    wrong.append(f"the log of {user_id}, who was erased, has entries")
                continue
            entries = self.read.setdefault(user_id, [])
            end = await log.end_of_log(user_id)
            cursor = entries[-1].cursor if entries else end.at(0)
            while page := await log.events_after(cursor, limit=MAX_PAGE):
                entries += page
                cursor = page[-1].cursor
                wrong += [
                    f"the log of {user_id} shows {entry.chat}"
                    for entry in page
                    if (known := model.chat_by_id(entry.chat.id)) and entry.chat != known
                ]
            if page is None or cursor.n < end.n:
                wrong.append(f"the log of {user_id} cannot be read on after {cursor}")
            numbers = [entry.cursor.at(entry.cursor.n) for entry in entries]
            if numbers != [Cursor(end.log, user_id, n) for n in range(1, len(entries) + 1)]:
                wrong.append(f"the log of {user_id} is numbered {numbers}")
            wrong += _unlike(model, user_id, entries)
        return wrong


def _unlike(model: Model, user_id: int, entries: Sequence[Entry]) -> Iterable[str]:
    by_chat: dict[int, list[Entry]] = {}
    for entry in entries:
        by_chat.setdefault(entry.chat.id, []).append(entry)
    for chat_id, known in model.chats.items():
        if user_id not in {user.id for user in known.chat.users}:
            continue
        story = by_chat.get(chat_id, [])
        opened = [entry.chat.id for entry in story if isinstance(entry, ChatOpened)]
        if opened != [chat_id] or not isinstance(story[0], ChatOpened):
            yield f"the log of {user_id} has these openings of chat {chat_id}: {opened}"
        sent = [entry.message for entry in story if isinstance(entry, MessageSent)]
        # The log may hold writes of unknown fate, which the model lacks.
        if sent[: len(known.messages)] != known.messages:
            yield f"the log of {user_id} has other messages of chat {chat_id}: {sent}"
        if [message.seq for message in sent] != list(range(1, len(sent) + 1)):
            yield f"the log of {user_id} has a gap or a repetition in chat {chat_id}"


def find_wrong_logs(connection: sqlite3.Connection) -> Iterable[str]:
    """The faults of the logs in a SQLite database that was never trimmed."""
    stories: dict[tuple[int, int], list[tuple[int, int]]] = {}
    events = connection.execute(
        "SELECT user_id, n, chat_id, kind, seq FROM events ORDER BY user_id, n"
    )
    for user_id, log in itertools.groupby(events, key=lambda row: row[0]):
        for number, (_, n, chat_id, kind, seq) in enumerate(log, start=1):
            stories.setdefault((chat_id, user_id), []).append((kind, seq))
            if n != number:
                yield f"entry {number} of the log of {user_id} has the number {n}"
    senders: dict[int, list[int]] = {}
    counted: dict[int, list[int]] = {}
    for chat_id, sender_id, lo_sent in connection.execute(
        "SELECT chat_id, sender_id, lo_sent FROM messages ORDER BY chat_id, seq"
    ):
        senders.setdefault(chat_id, []).append(sender_id)
        counted.setdefault(chat_id, []).append(lo_sent)
    for chat_id, lo_id, hi_id, *numbers in connection.execute(
        "SELECT id, lo_id, hi_id, lo_sent, lo_read, lo_seen, hi_read, hi_seen FROM chats"
    ):
        story = stories.pop((chat_id, lo_id), [])
        if story != stories.pop((chat_id, hi_id), []):
            yield f"the users of chat {chat_id} have different logs of it"
        by_kind = [
            [seq for logged, seq in story if logged == kind]
            for kind in (OPENED, SENT, LO_READ, HI_READ)
        ]
        sent_by = senders.get(chat_id, [])
        if by_kind[:2] != [[0], list(range(1, len(sent_by) + 1))]:
            yield f"the story of chat {chat_id} with {len(sent_by)} messages is {story}"
        by_lo = [sender == lo_id for sender in sent_by]
        if counted.get(chat_id, []) != list(itertools.accumulate(by_lo)):
            yield f"the messages of chat {chat_id} are counted {counted[chat_id]}"
        lo_read, hi_read = [max(moves, default=0) for moves in by_kind[2:]]
        lo_seen, hi_seen = lo_read - sum(by_lo[:lo_read]), sum(by_lo[:hi_read])
        if numbers != [sum(by_lo), lo_read, lo_seen, hi_read, hi_seen]:
            yield f"chat {chat_id} says {numbers}, its story is {story}"
        if any(moves != sorted(set(moves)) for moves in by_kind[2:]):
            yield f"a read marker of chat {chat_id} went back: {story}"
    if stories:
        yield f"there are logs of unknown chats: {stories.keys()}"
