"""Appends a batch of messages on SQLite.

Each database has its own SQL for this write, because the batch reads everything it needs before its
first insert.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from chatcore.errors import Refused
from chatcore.model import Sent
from chatcore_sqlalchemy.group_commit import Append
from chatcore_sqlalchemy.numbering import keys_of, number

# The rows that `number` expects.
CHATS = """
SELECT c.id, c.lo_id, c.hi_id, c.last_seq, c.lo_sent,
    ifnull((SELECT max(n) FROM events WHERE user_id = c.lo_id), 0),
    ifnull((SELECT max(n) FROM events WHERE user_id = c.hi_id), 0),
    max(
        ifnull((SELECT max(activity) FROM chats WHERE lo_id = c.lo_id), 0),
        ifnull((SELECT max(activity) FROM chats WHERE hi_id = c.lo_id), 0),
        ifnull((SELECT max(activity) FROM chats WHERE lo_id = c.hi_id), 0),
        ifnull((SELECT max(activity) FROM chats WHERE hi_id = c.hi_id), 0)),
    c.closed
FROM json_each(?) AS wanted CROSS JOIN chats AS c ON c.id = wanted.value
"""

REPLAYS = """
SELECT m.chat_id, m.seq, m.sender_id, m.text, m.sent_us, m.idempotency_key, m.digest
FROM json_each(?) AS wanted CROSS JOIN messages AS m
    ON m.chat_id = json_extract(wanted.value, '$[0]')
    AND m.sender_id = json_extract(wanted.value, '$[1]')
    AND m.idempotency_key = json_extract(wanted.value, '$[2]')
"""

INSERT = """
INSERT INTO messages (chat_id, seq, sender_id, text, sent_us, idempotency_key, lo_sent, digest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""

LOG = "INSERT INTO events (user_id, n, kind, chat_id, seq, at_us) VALUES (?, ?, ?, ?, ?, ?)"

RAISE = "UPDATE chats SET last_seq = ?, lo_sent = ?, activity = ? WHERE id = ?"


def append_batch(connection: sqlite3.Connection, batch: Sequence[Append]) -> list[Sent | Refused]:
    """Number, insert and log each message; return an outcome for each, in order."""
    chats = connection.execute(CHATS, (_json({new.chat_id for new, _ in batch}),))
    keys = keys_of(batch)
    replays = connection.execute(REPLAYS, (_json(keys),)) if keys else ()
    outcomes, messages, events, raised = number(batch, chats, replays)
    connection.executemany(INSERT, messages)
    connection.executemany(LOG, events)
    connection.executemany(RAISE, raised)
    return outcomes


def _json(items: Iterable[object]) -> str:
    return json.dumps(list(items), ensure_ascii=False)
