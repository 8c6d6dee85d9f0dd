"""The users' logs of events: how entries are written, read and trimmed."""

from collections.abc import Iterable, Sequence
from typing import Any

from chatcore.events import ChatOpened, Cursor, Entry, MarkerMoved, MessageSent
from chatcore.model import Chat, Message, User
from chatcore_sqlalchemy import statements as sql
from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.schema import LO_READ, OPENED, SENT

TRIMMED_USERS = 100
TRIMMED_ENTRIES = 1000
"""At most in one step, which others wait for."""


def log(run: Run, user_ids: Iterable[int], kind: int, chat_id: int, seq: int, at_us: int) -> None:
    """Add an entry to the log of each user."""
    for user_id in user_ids:
        run(sql.LOG, user_id=user_id, kind=kind, chat_id=chat_id, seq=seq, at_us=at_us)


def touch(run: Run) -> None:
    """A write that leaves all as it was, for finding out whether one succeeds."""
    ((name,),) = run(sql.LOG_NAME)
    # SQLite writes no page for a row that stays the same.
    for each in (f"{name} ", name):
        run(sql.NAME_LOG, name=each)


def entries(after: Cursor, rows: Sequence[Sequence[Any]], limit: int) -> list[Entry] | None:
    """The first `limit` entries after the cursor, of rows that begin with the one before them
    if there is one; None when some are missing or there are none to follow."""
    first = rows[0][5] if rows else 0
    if first == after.n:
        rows = rows[1:] if after.n else rows
    elif first != after.n + 1:
        return None
    return [_entry(after, row) for row in rows[:limit]]


def chat_of(row: Sequence[Any]) -> Chat:
    """The chat that a row begins with."""
    return Chat(row[0], (User(row[1], row[2]), User(row[3], row[4])))


def _entry(cursor: Cursor, row: Sequence[Any]) -> Entry:
    n, kind, seq, *message = row[5:]
    chat = chat_of(row)
    cursor = Cursor(cursor.log, cursor.user_id, n)
    if kind == SENT:
        return MessageSent(cursor, chat, Message(chat.id, seq, *message))
    if kind == OPENED:
        return ChatOpened(cursor, chat)
    return MarkerMoved(cursor, chat, chat.users[kind != LO_READ], seq)


def trim(run: Run, *, keep: int, since_us: int, after_user: int) -> int | None:
    """One step of `EventLog.trim_logs`."""
    logs = run(sql.LOGS, after_user=after_user, limit=TRIMMED_USERS)
    left = TRIMMED_ENTRIES
    for user_id, oldest, oldest_us, newest in logs:
        if oldest is None:
            continue
        # What is below this goes, for whichever reason; never the newest.
        bound = newest - max(keep, 1) + 1
        if oldest_us < since_us:
            found = run(sql.FIRST_SINCE, user_id=user_id, since_us=since_us, before=oldest + left)
            bound = max(bound, min(found[0][0], newest) if found else newest)
        if bound - oldest > left:
            run(sql.TRIM, user_id=user_id, before=oldest + left)
            return int(user_id) - 1
        if bound > oldest:
            run(sql.TRIM, user_id=user_id, before=bound)
            left -= bound - oldest
    return int(logs[-1][0]) if len(logs) == TRIMMED_USERS else None
