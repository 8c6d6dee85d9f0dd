"""The users' event logs: writing, reading and trimming."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from chatcore.errors import StoreUnavailable
from chatcore.events import ChatOpened, Cursor, Entry, MarkerMoved, MessageSent, mark_of
from chatcore.model import Message
from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.queries.chats import CHAT, CHAT_WIDTH, chat_of
from chatcore_sqlalchemy.queries.messages import MESSAGE
from chatcore_sqlalchemy.queries.parameters import LIMIT, ONE, USER_ID
from chatcore_sqlalchemy.schema import LO_READ, OPENED, SENT, chats, events, messages, store, users

TRIMMED_USERS = 100
TRIMMED_ENTRIES = 1000
"""The most logs and entries of one step of trimming: other writes wait for it."""

LOG_NAME = select(store.c.log).where(store.c.id == 1)
NAME_LOG = update(store).where(store.c.id == 1).values(log=bindparam("name"))
_newest = select(func.coalesce(func.max(events.c.n), 0)).where(events.c.user_id == USER_ID)
LOG = insert(events).values(
    user_id=USER_ID,
    n=_newest.scalar_subquery() + 1,
    kind=bindparam("kind"),
    chat_id=bindparam("chat_id"),
    seq=bindparam("seq"),
    at_us=bindparam("at_us"),
)
_OF_MARK = (events.c.kind, events.c.chat_id, events.c.seq, events.c.at_us)
END_OF_LOG = (
    select(events.c.n, *_OF_MARK)
    .where(events.c.user_id == USER_ID)
    .order_by(events.c.n.desc())
    .limit(ONE)
)
# Joins a message to the entry of a read marker too, in vain: such entries are few.
EVENTS_FROM = (
    CHAT.add_columns(events.c.n, *_OF_MARK, *MESSAGE[2:])
    .join(events, events.c.chat_id == chats.c.id)
    .outerjoin(
        messages, (messages.c.chat_id == events.c.chat_id) & (messages.c.seq == events.c.seq)
    )
    .where(events.c.user_id == USER_ID, events.c.n >= bindparam("n"))
    .order_by(events.c.n)
    .limit(LIMIT)
)

_log = events.c.user_id == users.c.id
LOGS = (
    select(
        users.c.id,
        select(func.min(events.c.n)).where(_log).scalar_subquery(),
        select(events.c.at_us).where(_log).order_by(events.c.n).limit(ONE).scalar_subquery(),
        select(func.max(events.c.n)).where(_log).scalar_subquery(),
    )
    .where(users.c.id > bindparam("after_user"))
    .order_by(users.c.id)
    .limit(LIMIT)
)
_entries = events.c.user_id == USER_ID
FIRST_SINCE = (
    select(events.c.n)
    .where(_entries, events.c.at_us >= bindparam("since_us"), events.c.n < bindparam("before"))
    .order_by(events.c.n)
    .limit(ONE)
)
TRIM = delete(events).where(_entries, events.c.n < bindparam("before"))


def append_entries(
    run: Run, user_ids: Iterable[int], kind: int, chat_id: int, seq: int, at_us: int
) -> None:
    """Add an entry to the log of each user."""
    for user_id in user_ids:
        run(LOG, user_id=user_id, kind=kind, chat_id=chat_id, seq=seq, at_us=at_us)


def touch(run: Run) -> None:
    """Write without changing anything, to find out whether a write succeeds."""
    ((name,),) = run(LOG_NAME)
    # Twice, because SQLite writes no page for an unchanged row.
    for each in (f"{name} ", name):
        run(NAME_LOG, name=each)


def end(start: Cursor, rows: Sequence[Sequence[Any]]) -> Cursor:
    """Decode the row of END_OF_LOG; without a row, the log is empty and ends at its start."""
    for n, *of_mark in rows:
        return start.at(n, mark_of(*of_mark))
    return start


def entries(after: Cursor, rows: Sequence[Sequence[Any]], limit: int) -> list[Entry] | None:
    """Decode rows of EVENTS_FROM that begin with the cursor's own entry, unless that is 0.

    Returns the first `limit` entries after the cursor, or those before an entry that is incomplete;
    None if some are trimmed, if the cursor lies beyond the end, or if its mark is not that of its
    entry. Raises StoreUnavailable if the first entry is incomplete.
    """
    first = rows[0][CHAT_WIDTH] if rows else 0
    if first == after.n:
        if after.n:
            if after.mark is not None and after.mark != _mark(rows[0]):
                return None
            rows = rows[1:]
    elif first != after.n + 1:
        return None
    found: list[Entry] = []
    for n, row in enumerate(rows[:limit], after.n + 1):
        try:
            found.append(_entry(after, n, row))
        except _Incomplete as missing:
            if not found:
                raise StoreUnavailable(
                    f"the entry {n} in the event log of the user {after.user_id} is incomplete: "
                    f"{missing} is missing; a server that lags catches up, otherwise run "
                    "`chatcore check`"
                ) from None
            break
    return found


class _Incomplete(Exception):
    """A row that an entry refers to is missing: the server lags, or the database is damaged."""


def _mark(row: Sequence[Any]) -> int:
    return mark_of(*row[CHAT_WIDTH + 1 : CHAT_WIDTH + 1 + len(_OF_MARK)])


def _entry(after: Cursor, expected: int, row: Sequence[Any]) -> Entry:
    n, kind, chat_id, seq, at_us, *message = row[CHAT_WIDTH:]
    if n != expected:
        # The joins leave out an entry without its chat.
        raise _Incomplete("its chat")
    chat = chat_of(row)
    cursor = Cursor(after.log, after.user_id, n, mark_of(kind, chat_id, seq, at_us))
    if kind == SENT:
        if message[0] is None:
            raise _Incomplete(f"the message {seq} of the chat {chat.id}")
        return MessageSent(cursor, chat, Message(chat.id, seq, *message))
    if kind == OPENED:
        return ChatOpened(cursor, chat)
    return MarkerMoved(cursor, chat, chat.users[kind != LO_READ], seq)


def trim(run: Run, *, keep: int, since_us: int, after_user: int) -> int | None:
    """One step of `EventLog.trim_logs`."""
    logs = run(LOGS, after_user=after_user, limit=TRIMMED_USERS)
    left = TRIMMED_ENTRIES
    for user_id, oldest, oldest_us, newest in logs:
        if oldest is None:
            continue
        # All entries below the bound are trimmed, but never the newest one.
        bound = newest - max(keep, 1) + 1
        if oldest_us < since_us:
            found = run(FIRST_SINCE, user_id=user_id, since_us=since_us, before=oldest + left)
            bound = max(bound, min(found[0][0], newest) if found else newest)
        if bound - oldest > left:
            run(TRIM, user_id=user_id, before=oldest + left)
            return int(user_id) - 1
        if bound > oldest:
            run(TRIM, user_id=user_id, before=bound)
            left -= bound - oldest
    return int(logs[-1][0]) if len(logs) == TRIMMED_USERS else None
