"""What is asked of the database, written once for all of them.

Only the append of messages is not here: it is the one write that every database is told in
words of its own.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    CompoundSelect,
    Executable,
    Select,
    Text,
    bindparam,
    case,
    delete,
    desc,
    func,
    literal_column,
    or_,
    select,
    union_all,
    update,
)

# PostgreSQL's INSERT also for SQLite, which took ON CONFLICT over from it; SQLAlchemy has one
# for each, and compiles either for both.
from sqlalchemy.dialects.postgresql import insert

from chatcore_sqlalchemy.schema import (
    ERASED,
    blocks,
    chats,
    events,
    messages,
    retired_names,
    store,
    users,
)

lo = users.alias("lo")
hi = users.alias("hi")
peer = users.alias("peer")

_MESSAGE = (
    messages.c.chat_id,
    messages.c.seq,
    messages.c.sender_id,
    messages.c.text,
    messages.c.sent_us,
)

_user_id = bindparam("user_id", type_=BigInteger)
_peer_id = bindparam("peer_id", type_=BigInteger)
_limit = bindparam("limit", type_=BigInteger)
_ONE = literal_column("1", BigInteger)

USER_BY_NAME = select(users.c.id, users.c.name).where(users.c.canonical == bindparam("canonical"))
USER_BY_ID = select(users.c.id, users.c.name).where(users.c.id == _user_id)
_living = users.c.erased_us.is_(None)
_credentials = select(
    users.c.id, users.c.name, users.c.password_hash, users.c.tokens_from_us
).where(_living)
CREDENTIALS = _credentials.where(users.c.canonical == bindparam("canonical"))
CREDENTIALS_BY_ID = _credentials.where(users.c.id == _user_id)
# Whoever writes to users' logs, or raises the activity of their chats, holds these rows until
# its end, and that of the chat, taken before. Everyone takes them by ascending ids, so that
# nobody waits in a circle. (SQLite has one writer, and knows no such locks.) Nothing happens to
# those who were erased.
PAIR = (
    select(users.c.id, users.c.name)
    .where(users.c.id.in_([bindparam("lo"), bindparam("hi")]), _living)
    .order_by(users.c.id)
    .with_for_update(key_share=True)
)

ADD_USER = (
    insert(users)
    .values(
        name=bindparam("name"),
        canonical=bindparam("canonical"),
        password_hash=bindparam("password_hash"),
        registered_us=bindparam("registered_us"),
    )
    .on_conflict_do_nothing(index_elements=[users.c.canonical])
    .returning(users.c.id)
)
RETIRED = select(retired_names.c.digest).where(retired_names.c.digest == bindparam("digest"))
REPLACE_HASH = (
    update(users)
    .where(users.c.id == _user_id, users.c.password_hash == bindparam("old"), _living)
    .values(password_hash=bindparam("new"))
)

_from_us = bindparam("from_us", type_=BigInteger)
_second_later = users.c.tokens_from_us + literal_column("1000000", BigInteger)
VOID_TOKENS = (
    update(users)
    .where(users.c.id == _user_id, _living)
    .values(
        # `greatest` has another name in SQLite.
        tokens_from_us=case((_from_us > _second_later, _from_us), else_=_second_later),
        password_hash=func.coalesce(bindparam("password_hash", type_=Text), users.c.password_hash),
    )
    .returning(users.c.tokens_from_us)
)

_chats_of_user = or_(chats.c.lo_id == _user_id, chats.c.hi_id == _user_id)
COUNT_CHATS_OF = select(func.count()).select_from(chats).where(_chats_of_user)
# How many they are, too.
LOCK_CHATS_OF = select(func.count()).select_from(
    select(chats.c.id).where(_chats_of_user).subquery()
)
LOCK_USER = select(users.c.canonical).where(users.c.id == _user_id, _living).with_for_update()
DROP_USER = delete(users).where(users.c.id == _user_id)
ERASE_USER = (
    update(users)
    .where(users.c.id == _user_id)
    .values(
        name=bindparam("name"),
        canonical=bindparam("canonical"),
        password_hash="",
        erased_us=bindparam("erased_us", type_=BigInteger),
    )
)
RETIRE = insert(retired_names).values(digest=bindparam("digest"))
CLOSE_CHATS_OF = update(chats).where(_chats_of_user).values(closed=ERASED)
DROP_BLOCKS_OF = delete(blocks).where(
    or_(blocks.c.user_id == _user_id, blocks.c.peer_id == _user_id)
)
DROP_LOG = delete(events).where(events.c.user_id == _user_id)

CHAT = (
    select(
        chats.c.id,
        lo.c.id.label("lo_id"),
        lo.c.name.label("lo_name"),
        hi.c.id.label("hi_id"),
        hi.c.name.label("hi_name"),
    )
    .join_from(chats, lo, lo.c.id == chats.c.lo_id)
    .join(hi, hi.c.id == chats.c.hi_id)
)
CHAT_BY_ID = CHAT.where(chats.c.id == bindparam("chat_id"))
CHAT_WITH = CHAT.join(
    peer,
    # Not an OR over both orders of the pair: this way the unique index answers it directly.
    (chats.c.lo_id == case((peer.c.id < _user_id, peer.c.id), else_=_user_id))
    & (chats.c.hi_id == case((peer.c.id < _user_id, _user_id), else_=peer.c.id)),
).where(peer.c.canonical == bindparam("peer"))
LAST_SEQ = select(chats.c.last_seq).where(chats.c.id == bindparam("chat_id"))

_summary = CHAT.add_columns(chats.c.last_seq, chats.c.activity).where(
    chats.c.activity < bindparam("before")
)
# Two sides, each in the order of its index, merged until the limit: nothing is sorted, and no
# chat beyond the page is touched.
CHATS_OF = (
    union_all(
        _summary.where(chats.c.lo_id == _user_id),
        _summary.where(chats.c.hi_id == _user_id),
    )
    .order_by(desc("activity"))
    .limit(_limit)
)

_side_of_lo = CHAT.add_columns(
    chats.c.activity,
    chats.c.lo_read.label("read_seq"),
    chats.c.hi_told.label("peer_read_seq"),
    (chats.c.last_seq - chats.c.lo_sent - chats.c.lo_seen).label("unread"),
).where(chats.c.lo_id == _user_id)
_side_of_hi = CHAT.add_columns(
    chats.c.activity,
    chats.c.hi_read,
    chats.c.lo_told,
    chats.c.lo_sent - chats.c.hi_seen,
).where(chats.c.hi_id == _user_id)


def _states(condition: ColumnElement[bool]) -> CompoundSelect[Any]:
    return union_all(
        *(
            side.add_columns(*_MESSAGE)
            .outerjoin(
                messages,
                (messages.c.chat_id == chats.c.id) & (messages.c.seq == chats.c.last_seq),
            )
            .where(condition)
            for side in (_side_of_lo, _side_of_hi)
        )
    )


CHAT_STATES = (
    _states(chats.c.activity < bindparam("before")).order_by(desc("activity")).limit(_limit)
)
CHAT_STATE = _states(chats.c.id == bindparam("chat_id"))


def _each_limited(merged: CompoundSelect[Any]) -> CompoundSelect[Any]:
    sides: Sequence[Any] = merged.selects
    limited = (side.order_by(desc("activity")).limit(_limit) for side in sides)
    return union_all(*limited).order_by(desc("activity")).limit(_limit)


ON_POSTGRESQL: dict[Executable, Executable] = {
    CHATS_OF: _each_limited(CHATS_OF),
    CHAT_STATES: _each_limited(CHAT_STATES),
    LOCK_CHATS_OF: select(func.count()).select_from(
        select(chats.c.id)
        .where(_chats_of_user)
        .order_by(chats.c.id)
        .with_for_update(key_share=True)
        .subquery()
    ),
}
"""What is asked in other words there: PostgreSQL merges sides that have an end each, but reads
and sorts all of two that have not (190 ms instead of 0.1 for a user with 20,000 chats). SQLite
sorts where there are two ends, and what it need not lock."""


def _newest_activity(*users: str) -> Select[Any]:
    """Of the chats of these users, named by their parameters; 0 without any."""
    newest = union_all(
        *(
            select(func.max(chats.c.activity).label("activity")).where(side == bindparam(user))
            for side in (chats.c.lo_id, chats.c.hi_id)
            for user in users
        )
    ).subquery()
    return select(func.coalesce(func.max(newest.c.activity), 0))


NEWEST_ACTIVITY = _newest_activity("user_id")


ADD_CHAT = (
    insert(chats)
    .values(
        lo_id=bindparam("lo"),
        hi_id=bindparam("hi"),
        last_seq=0,
        activity=_newest_activity("lo", "hi").scalar_subquery() + 1,
        opened_us=bindparam("opened_us"),
    )
    .on_conflict_do_nothing(index_elements=[chats.c.lo_id, chats.c.hi_id])
    .returning(chats.c.id)
)

CHAT_OF_PAIR = select(chats.c.id, chats.c.closed).where(
    chats.c.lo_id == bindparam("lo"), chats.c.hi_id == bindparam("hi")
)
LOCK_CHAT_OF_PAIR = CHAT_OF_PAIR.with_for_update(key_share=True)
CLOSE_CHAT = (
    update(chats)
    .where(chats.c.id == bindparam("chat_id"))
    .values(closed=bindparam("reasons", type_=BigInteger))
)
_block = (blocks.c.user_id == _user_id) & (blocks.c.peer_id == _peer_id)
_block_back = (blocks.c.user_id == _peer_id) & (blocks.c.peer_id == _user_id)
BLOCKS_OF_PAIR = select(blocks.c.user_id).where(or_(_block, _block_back))
BLOCK = (
    insert(blocks)
    .values(user_id=_user_id, peer_id=_peer_id, blocked_us=bindparam("blocked_us"))
    .on_conflict_do_nothing(index_elements=[blocks.c.user_id, blocks.c.peer_id])
)
UNBLOCK = delete(blocks).where(_block)
BLOCKED_BY = (
    select(users.c.id, users.c.name)
    .join_from(blocks, users, users.c.id == blocks.c.peer_id)
    .where(blocks.c.user_id == _user_id, blocks.c.peer_id > bindparam("after"))
    .order_by(blocks.c.peer_id)
    .limit(_limit)
)

_message = select(*_MESSAGE).where(messages.c.chat_id == bindparam("chat_id"))
MESSAGES_AFTER = (
    _message.where(messages.c.seq > bindparam("seq")).order_by(messages.c.seq).limit(_limit)
)
MESSAGES_BEFORE = (
    _message.where(messages.c.seq < bindparam("seq")).order_by(messages.c.seq.desc()).limit(_limit)
)

_chat = chats.c.id == bindparam("chat_id")
MARKERS = (
    select(
        chats.c.lo_id,
        chats.c.lo_read,
        chats.c.hi_id,
        chats.c.hi_read,
        chats.c.last_seq,
        chats.c.closed,
    )
    .where(_chat)
    .with_for_update(key_share=True)
)
_seq = bindparam("seq", type_=BigInteger)
_lo_sent = (
    select(messages.c.lo_sent)
    .where(messages.c.chat_id == chats.c.id, messages.c.seq == _seq)
    .scalar_subquery()
)


def _told(before: Column[int]) -> ColumnElement[int]:
    return case((chats.c.closed == 0, _seq), else_=before)


MOVE_LO_MARKER = (
    update(chats)
    .where(_chat)
    .values(lo_read=_seq, lo_seen=_seq - _lo_sent, lo_told=_told(chats.c.lo_told))
)
MOVE_HI_MARKER = (
    update(chats)
    .where(_chat)
    .values(hi_read=_seq, hi_seen=_lo_sent, hi_told=_told(chats.c.hi_told))
)

LOG_NAME = select(store.c.log).where(store.c.id == 1)
NAME_LOG = update(store).where(store.c.id == 1).values(log=bindparam("name"))
_newest = select(func.coalesce(func.max(events.c.n), 0)).where(events.c.user_id == _user_id)
END_OF_LOG = _newest
LOG = insert(events).values(
    user_id=_user_id,
    n=_newest.scalar_subquery() + 1,
    kind=bindparam("kind"),
    chat_id=bindparam("chat_id"),
    seq=bindparam("seq"),
    at_us=bindparam("at_us"),
)
# Messages of other kinds of events are read for nothing. There are few of them.
EVENTS_FROM = (
    CHAT.add_columns(events.c.n, events.c.kind, events.c.seq, *_MESSAGE[2:])
    .join(events, events.c.chat_id == chats.c.id)
    .outerjoin(
        messages, (messages.c.chat_id == events.c.chat_id) & (messages.c.seq == events.c.seq)
    )
    .where(events.c.user_id == _user_id, events.c.n >= bindparam("n"))
    .order_by(events.c.n)
    .limit(_limit)
)

_log = events.c.user_id == users.c.id
LOGS = (
    select(
        users.c.id,
        select(func.min(events.c.n)).where(_log).scalar_subquery(),
        select(events.c.at_us).where(_log).order_by(events.c.n).limit(_ONE).scalar_subquery(),
        select(func.max(events.c.n)).where(_log).scalar_subquery(),
    )
    .where(users.c.id > bindparam("after_user"))
    .order_by(users.c.id)
    .limit(_limit)
)
_entries = events.c.user_id == _user_id
FIRST_SINCE = (
    select(events.c.n)
    .where(_entries, events.c.at_us >= bindparam("since_us"), events.c.n < bindparam("before"))
    .order_by(events.c.n)
    .limit(_ONE)
)
TRIM = delete(events).where(_entries, events.c.n < bindparam("before"))
