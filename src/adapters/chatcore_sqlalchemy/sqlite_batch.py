"""Appends a batch of messages on SQLite: the one write that is told to each database in its
own words, since all that a batch needs to know must be read before its first message."""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from chatcore.errors import ChatNotFound, KeyReused, Refused
from chatcore.model import Message, NewMessage, Sent
from chatcore_sqlalchemy.schema import SENT

# After the chat: the numbers of the newest events of its users, and the newest activity of any
# chat of either.
CHATS = """
SELECT c.id, c.lo_id, c.hi_id, c.last_seq, c.lo_sent,
    ifnull((SELECT max(n) FROM events WHERE user_id = c.lo_id), 0),
    ifnull((SELECT max(n) FROM events WHERE user_id = c.hi_id), 0),
    max(
        ifnull((SELECT max(activity) FROM chats WHERE lo_id = c.lo_id), 0),
        ifnull((SELECT max(activity) FROM chats WHERE hi_id = c.lo_id), 0),
        ifnull((SELECT max(activity) FROM chats WHERE lo_id = c.hi_id), 0),
        ifnull((SELECT max(activity) FROM chats WHERE hi_id = c.hi_id), 0))
FROM json_each(?) AS wanted CROSS JOIN chats AS c ON c.id = wanted.value
"""

REPLAYS = """
SELECT m.chat_id, m.seq, m.sender_id, m.text, m.sent_us, m.idempotency_key
FROM json_each(?) AS wanted CROSS JOIN messages AS m
    ON m.chat_id = json_extract(wanted.value, '$[0]')
    AND m.sender_id = json_extract(wanted.value, '$[1]')
    AND m.idempotency_key = json_extract(wanted.value, '$[2]')
"""

INSERT = """
INSERT INTO messages (chat_id, seq, sender_id, text, sent_us, idempotency_key, lo_sent)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""

LOG = "INSERT INTO events (user_id, n, kind, chat_id, seq, at_us) VALUES (?, ?, ?, ?, ?, ?)"

RAISE = "UPDATE chats SET last_seq = ?, lo_sent = ?, activity = ? WHERE id = ?"


def append_batch(
    connection: sqlite3.Connection, batch: Sequence[NewMessage]
) -> list[Sent | Refused]:
    """Number, insert and log each message. An outcome for each, in order."""
    pairs: dict[int, tuple[int, int]] = {}
    counts: dict[int, tuple[int, int]] = {}
    newest: dict[int, int] = {}
    ends: dict[int, int] = {}
    found = connection.execute(CHATS, (_json({new.chat_id for new in batch}),))
    for chat_id, lo_id, hi_id, last_seq, lo_sent, lo_end, hi_end, activity in found:
        pairs[chat_id] = lo_id, hi_id
        counts[chat_id] = last_seq, lo_sent
        ends[lo_id], ends[hi_id] = lo_end, hi_end
        for user_id in (lo_id, hi_id):
            newest[user_id] = max(newest.get(user_id, 0), activity)
    known = _replays(connection, batch)

    outcomes: list[Sent | Refused] = []
    rows: list[tuple[object, ...]] = []
    logged: list[tuple[int, ...]] = []
    raised: dict[int, tuple[int, int, int, int]] = {}
    for new in batch:
        chat_id, sender_id, key = new.chat_id, new.sender_id, new.idempotency_key
        pair = pairs.get(chat_id)
        if pair is None or sender_id not in pair:
            outcomes.append(ChatNotFound())
            continue
        if key is not None and (first := known.get((chat_id, sender_id, key))):
            same = first.text == new.text
            outcomes.append(Sent(first, replayed=True) if same else KeyReused())
            continue
        last_seq, lo_sent = counts[chat_id]
        seq, lo_sent = counts[chat_id] = last_seq + 1, lo_sent + (sender_id == pair[0])
        message = Message(chat_id, seq, sender_id, new.text, new.sent_us)
        if key is not None:
            known[chat_id, sender_id, key] = message
        outcomes.append(Sent(message, replayed=False))
        rows.append((*message, key, lo_sent))
        for user_id in pair:
            n = ends[user_id] = ends[user_id] + 1
            logged.append((user_id, n, SENT, chat_id, seq, new.sent_us))
        activity = 1 + max(newest[user_id] for user_id in pair)
        newest.update(dict.fromkeys(pair, activity))
        raised[chat_id] = seq, lo_sent, activity, chat_id
    connection.executemany(INSERT, rows)
    connection.executemany(LOG, logged)
    connection.executemany(RAISE, raised.values())
    return outcomes


def _replays(
    connection: sqlite3.Connection, batch: Sequence[NewMessage]
) -> dict[tuple[int, int, str], Message]:
    keys = {
        (new.chat_id, new.sender_id, new.idempotency_key)
        for new in batch
        if new.idempotency_key is not None
    }
    if not keys:
        return {}
    found = connection.execute(REPLAYS, (_json(keys),))
    return {(row[0], row[2], row[5]): Message(*row[:5]) for row in found}


def _json(items: Iterable[object]) -> str:
    return json.dumps(list(items), ensure_ascii=False)
