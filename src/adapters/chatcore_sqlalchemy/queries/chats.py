"""Chats: by id, by peer, in lists, and as each of the two users sees them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    bindparam,
    case,
    desc,
    func,
    select,
    union_all,
)

from chatcore.model import KEY_SEPARATOR, Chat, ChatState, ChatSummary, User, user_of
from chatcore_sqlalchemy.queries.messages import MESSAGE, message_of
from chatcore_sqlalchemy.queries.parameters import CHAT_ID, LIMIT, USER_ID
from chatcore_sqlalchemy.schema import chats, messages, users

_lo = users.alias("lo")
_hi = users.alias("hi")
_peer = users.alias("peer")

CHAT = (
    select(
        chats.c.id,
        _lo.c.id.label("lo_id"),
        _lo.c.canonical.label("lo_key"),
        _lo.c.name.label("lo_name"),
        _hi.c.id.label("hi_id"),
        _hi.c.canonical.label("hi_key"),
        _hi.c.name.label("hi_name"),
    )
    .join_from(chats, _lo, _lo.c.id == chats.c.lo_id)
    .join(_hi, _hi.c.id == chats.c.hi_id)
)
CHAT_WIDTH = 7
"""How many columns `chat_of` decodes; the columns that a statement adds to CHAT follow them."""

CHAT_BY_ID = CHAT.where(chats.c.id == CHAT_ID)
CHAT_WITH = CHAT.join(
    _peer,
    # Not an OR over both orders of the pair: this form uses the unique index directly.
    (chats.c.lo_id == case((_peer.c.id < USER_ID, _peer.c.id), else_=USER_ID))
    & (chats.c.hi_id == case((_peer.c.id < USER_ID, USER_ID), else_=_peer.c.id)),
).where(_peer.c.canonical == bindparam("peer"))

_summary = CHAT.add_columns(chats.c.last_seq, chats.c.activity).where(
    chats.c.activity < bindparam("before")
)
# Both sides are read in the order of their indexes and merged up to the limit: no sort, and no
# chat beyond the page is read.
CHATS_OF = (
    union_all(
        _summary.where(chats.c.lo_id == USER_ID),
        _summary.where(chats.c.hi_id == USER_ID),
    )
    .order_by(desc("activity"))
    .limit(LIMIT)
)

_side_of_lo = CHAT.add_columns(
    chats.c.activity,
    chats.c.lo_read.label("read_seq"),
    chats.c.hi_told.label("peer_read_seq"),
    (chats.c.last_seq - chats.c.lo_sent - chats.c.lo_seen).label("unread"),
).where(chats.c.lo_id == USER_ID)
_side_of_hi = CHAT.add_columns(
    chats.c.activity,
    chats.c.hi_read,
    chats.c.lo_told,
    chats.c.lo_sent - chats.c.hi_seen,
).where(chats.c.hi_id == USER_ID)


def _states(condition: ColumnElement[bool]) -> CompoundSelect[Any]:
    return union_all(
        *(
            side.add_columns(*MESSAGE)
            .outerjoin(
                messages,
                (messages.c.chat_id == chats.c.id) & (messages.c.seq == chats.c.last_seq),
            )
            .where(condition)
            for side in (_side_of_lo, _side_of_hi)
        )
    )


CHAT_STATES = (
    _states(chats.c.activity < bindparam("before")).order_by(desc("activity")).limit(LIMIT)
)
CHAT_STATE = _states(chats.c.id == CHAT_ID)


def newest_activity(*users: str) -> Select[Any]:
    """Select the newest activity of the chats of any of the users; 0 without chats.

    The arguments name the parameters that hold the users' ids.
    """
    newest = union_all(
        *(
            select(func.max(chats.c.activity).label("activity")).where(side == bindparam(user))
            for side in (chats.c.lo_id, chats.c.hi_id)
            for user in users
        )
    ).subquery()
    return select(func.coalesce(func.max(newest.c.activity), 0))


NEWEST_ACTIVITY = newest_activity("user_id")


def chat_of(row: Sequence[Any]) -> Chat:
    """Decode the chat at the start of a row of CHAT, or of a statement made from it."""
    if KEY_SEPARATOR in row[2] or KEY_SEPARATOR in row[5]:
        return Chat(row[0], (user_of(row[1], row[2], row[3]), user_of(row[4], row[5], row[6])))
    # What `user_of` makes of the keys of accounts, without its two calls for each chat of a list.
    return Chat(row[0], (User(row[1], row[2], row[3]), User(row[4], row[5], row[6])))


def first_chat(rows: Sequence[Sequence[Any]]) -> Chat | None:
    """Decode the chat of CHAT_BY_ID or CHAT_WITH; None without a row."""
    return chat_of(rows[0]) if rows else None


def summary_of(row: Sequence[Any]) -> ChatSummary:
    """Decode a row of CHATS_OF."""
    return ChatSummary(chat_of(row), *row[CHAT_WIDTH:])


def state_of(row: Sequence[Any]) -> ChatState:
    """Decode a row of CHAT_STATES or CHAT_STATE."""
    activity, read_seq, peer_read_seq, unread, *message = row[CHAT_WIDTH:]
    # The join finds no message for a chat without messages.
    last = None if message[0] is None else message_of(message)
    return ChatState(chat_of(row), activity, last, read_seq, peer_read_seq, unread)
