"""Appends a batch of messages on SQLite: the one write that is told to each database in its
own words, since all that a batch needs to know must be read before its first message."""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from chatcore.errors import ChatNotFound, KeyReused, Refused
from chatcore.model import Message, NewMessage, Sent

# The last column is the newest activity of any chat of either user.
CHATS = """
SELECT c.id, c.lo_id, c.hi_id, c.last_seq, max(
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
INSERT INTO messages (chat_id, seq, sender_id, text, sent_us, idempotency_key)
VALUES (?, ?, ?, ?, ?, ?)
"""

RAISE = "UPDATE chats SET last_seq = ?, activity = ? WHERE id = ?"


def append_batch(
    connection: sqlite3.Connection, batch: Sequence[NewMessage]
) -> list[Sent | Refused]:
    """Number and insert each message. An outcome for each, in order."""
    pairs: dict[int, tuple[int, int]] = {}
    last_seqs: dict[int, int] = {}
    newest: dict[int, int] = {}
    found = connection.execute(CHATS, (_json({new.chat_id for new in batch}),))
    for chat_id, lo_id, hi_id, last_seq, activity in found:
        pairs[chat_id] = lo_id, hi_id
        last_seqs[chat_id] = last_seq
        for user_id in (lo_id, hi_id):
            newest[user_id] = max(newest.get(user_id, 0), activity)
    known = _replays(connection, batch)

    outcomes: list[Sent | Refused] = []
    rows: list[tuple[object, ...]] = []
    raised: dict[int, tuple[int, int, int]] = {}
    for new in batch:
        chat_id, sender_id, key = new.chat_id, new.sender_id, new.idempotency_key
        pair = pairs.get(chat_id, ())
        if sender_id not in pair:
            outcomes.append(ChatNotFound())
            continue
        if key is not None and (first := known.get((chat_id, sender_id, key))):
            same = first.text == new.text
            outcomes.append(Sent(first, replayed=True) if same else KeyReused())
            continue
        seq = last_seqs[chat_id] = last_seqs[chat_id] + 1
        message = Message(chat_id, seq, sender_id, new.text, new.sent_us)
        if key is not None:
            known[chat_id, sender_id, key] = message
        outcomes.append(Sent(message, replayed=False))
        rows.append((*message, key))
        activity = 1 + max(newest[user_id] for user_id in pair)
        newest.update(dict.fromkeys(pair, activity))
        raised[chat_id] = seq, activity, chat_id
    connection.executemany(INSERT, rows)
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
