"""Appends a batch of messages on PostgreSQL, in a handful of statements over arrays.

All counters are locked first, by ascending ids so that there are no deadlocks, and read by a later
statement: in READ COMMITTED, a statement that waits for a lock still sees the rows from before the
wait.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, NamedTuple

import asyncpg

from chatcore.errors import Refused
from chatcore.model import MAX_INT64, Sent
from chatcore_sqlalchemy.group_commit import Append
from chatcore_sqlalchemy.numbering import keys_of, number
from chatcore_sqlalchemy.postgres.connection import Connection
from chatcore_sqlalchemy.postgres.statement import apply, in_schema
from chatcore_sqlalchemy.queries.events import touch
from chatcore_sqlalchemy.schema import SENT


class LeftOut(Enum):
    """The outcome of a message that was not stored, since another transaction has locked its chat
    or one of the two users."""

    LEFT_OUT = "left out"


LEFT_OUT = LeftOut.LEFT_OUT

# Each transaction that writes about a chat or to a user's log holds these locks: chats first,
# then users. The array holds the users of all chats before the first user is read: a join with
# the chats could lock a user in between (with statistics from an empty table it did, and two
# transactions waited for each other). Returns the ids that it locked, of chats and of users.
# For `in_schema`, as those below.
LOCK = """
WITH locked AS MATERIALIZED (
    SELECT id, lo_id, hi_id FROM {schema}.chats WHERE id = ANY($1::bigint[])
    ORDER BY id FOR NO KEY UPDATE
), held AS MATERIALIZED (
    SELECT id FROM {schema}.users
    WHERE id = ANY(ARRAY(SELECT lo_id FROM locked UNION ALL SELECT hi_id FROM locked))
    ORDER BY id FOR NO KEY UPDATE
)
SELECT ARRAY(SELECT id FROM locked), ARRAY(SELECT id FROM held)
"""

# The same, but leaves out what another transaction has locked.
LOCK_FREE = LOCK.replace("FOR NO KEY UPDATE", "FOR NO KEY UPDATE SKIP LOCKED")

# The rows that `number` expects. An activity below the chat's own cannot be the newest. Without
# that bound PostgreSQL reads a whole page of dead index entries for each: one for every message.
CHATS = """
SELECT c.id, c.lo_id, c.hi_id, c.last_seq, c.lo_sent,
    coalesce((SELECT max(n) FROM {schema}.events WHERE user_id = c.lo_id), 0),
    coalesce((SELECT max(n) FROM {schema}.events WHERE user_id = c.hi_id), 0),
    greatest(
        (SELECT max(activity) FROM {schema}.chats
            WHERE lo_id = c.lo_id AND activity >= c.activity),
        (SELECT max(activity) FROM {schema}.chats
            WHERE hi_id = c.lo_id AND activity >= c.activity),
        (SELECT max(activity) FROM {schema}.chats
            WHERE lo_id = c.hi_id AND activity >= c.activity),
        (SELECT max(activity) FROM {schema}.chats
            WHERE hi_id = c.hi_id AND activity >= c.activity)),
    c.closed
FROM {schema}.chats AS c WHERE c.id = ANY($1::bigint[])
"""

REPLAYS = """
SELECT m.chat_id, m.seq, m.sender_id, m.text, m.sent_us, m.idempotency_key, m.digest
FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS wanted (chat_id, sender_id, key)
JOIN {schema}.messages AS m ON m.chat_id = wanted.chat_id AND m.sender_id = wanted.sender_id
    AND m.idempotency_key = wanted.key
"""

WRITE = """
WITH sent AS (
    INSERT INTO {schema}.messages
        (chat_id, seq, sender_id, text, sent_us, idempotency_key, lo_sent, digest)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[],
        $6::text[], $7::bigint[], $8::bytea[])
), logged AS (
    INSERT INTO {schema}.events (user_id, n, kind, chat_id, seq, at_us)
    SELECT * FROM unnest($9::bigint[], $10::bigint[], $11::smallint[], $12::bigint[],
        $13::bigint[], $14::bigint[])
)
UPDATE {schema}.chats
SET last_seq = raised.last_seq, lo_sent = raised.lo_sent, activity = raised.activity
FROM unnest($15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[])
    AS raised (last_seq, lo_sent, activity, id)
WHERE chats.id = raised.id
"""

# What WRITE does, for a message that is never committed. A chat of the store, since a DBA may have
# added foreign keys.
REHEARSE = """
WITH chat AS (
    SELECT id, lo_id, last_seq + 1 AS seq FROM {schema}.chats ORDER BY id DESC LIMIT 1
), sent AS (
    INSERT INTO {schema}.messages (chat_id, seq, sender_id, text, sent_us)
    SELECT id, seq, lo_id, 'x', 0 FROM chat
), logged AS (
    INSERT INTO {schema}.events (user_id, n, kind, chat_id, seq, at_us)
    SELECT lo_id, coalesce((SELECT max(n) FROM {schema}.events WHERE user_id = lo_id), 0) + 1,
        $1::smallint, id, seq, 0
    FROM chat
)
UPDATE {schema}.chats SET last_seq = chat.seq FROM chat WHERE chats.id = chat.id
"""


class Locks(NamedTuple):
    """The ids of what LOCK or LOCK_FREE locked."""

    chats: Collection[int]
    users: Collection[int]


class StillLocked(Refused):
    """Another transaction held a lock for longer than `lock_timeout`. Nothing was written."""


@contextmanager
def waiting_in_bounds() -> Iterator[None]:
    """Raise StillLocked if a statement of the block reached `lock_timeout`."""
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise StillLocked from error


async def lock_chats(
    connection: Connection, schema: str, chat_ids: Sequence[int], lock: str
) -> Locks:
    """Lock the chats and their users."""
    (locked,) = await connection.fetch(in_schema(lock, schema), chat_ids)
    return Locks(*locked)


async def append_batch(
    connection: Connection, schema: str, batch: Sequence[Append], lock: str = LOCK
) -> list[Sent | Refused | LeftOut]:
    """Number, insert and log each message, in the transaction of the connection; return an outcome
    for each, in order. LOCK waits for what others have locked; with LOCK_FREE the messages that
    would have to wait are left out."""
    outcomes, _ = await append_and_hold(connection, schema, batch, lock)
    return outcomes


async def append_and_hold(
    connection: Connection, schema: str, batch: Sequence[Append], lock: str
) -> tuple[list[Sent | Refused | LeftOut], Locks]:
    """Do what `append_batch` does, and also return what the transaction now holds."""
    # No other ids exist, and a single one out of range would fail the whole batch.
    chat_ids = list({new.chat_id for new, _ in batch if 0 < new.chat_id <= MAX_INT64})
    locks = await lock_chats(connection, schema, chat_ids, lock)
    chats = await connection.fetch(in_schema(CHATS, schema), chat_ids)
    left_out = _left_out(chats, locks)
    if left_out:
        chats = [row for row in chats if row[0] not in left_out]
    members = {
        (chat_id, user_id) for chat_id, *pair in (row[:3] for row in chats) for user_id in pair
    }
    keys = [key for key in keys_of(batch) if key[:2] in members]
    replays = await connection.fetch(in_schema(REPLAYS, schema), *_columns(keys, 3)) if keys else ()
    outcomes, messages, events, raised = number(batch, chats, replays)
    if messages:
        columns = (*_columns(messages, 8), *_columns(events, 6), *_columns(raised, 4))
        await connection.fetch(in_schema(WRITE, schema), *columns)
    if not left_out:
        return [*outcomes], locks
    return [
        LEFT_OUT if new.chat_id in left_out else outcome
        for (new, _), outcome in zip(batch, outcomes, strict=True)
    ], locks


async def rehearse(connection: Connection, schema: str) -> None:
    """Write a message as a batch does, undo that, and write what changes nothing for the commit of
    the connection's transaction. Raises what a batch would fail with."""
    await connection.execute("SAVEPOINT rehearsal")
    await connection.fetch(in_schema(REHEARSE, schema), SENT)
    await connection.execute("ROLLBACK TO SAVEPOINT rehearsal")
    await apply(schema, touch, connection)


def _left_out(chats: Iterable[Sequence[Any]], locks: Locks) -> set[int]:
    """The ids of the chats that are not locked together with both users."""
    locked, users = set(locks.chats), set(locks.users)
    return {
        chat_id
        for chat_id, lo_id, hi_id, *_ in chats
        if chat_id not in locked or lo_id not in users or hi_id not in users
    }


def _columns(rows: Iterable[Sequence[Any]], count: int) -> Sequence[Sequence[Any]]:
    """Turn the rows into `count` columns."""
    return list(zip(*rows, strict=True)) or [()] * count
