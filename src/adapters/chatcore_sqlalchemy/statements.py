"""What is asked of the database, written once for all of them.

Only the append of messages is not here: it is the one write that every database is told in
words of its own.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Select,
    bindparam,
    case,
    desc,
    func,
    select,
    union_all,
    update,
)

# PostgreSQL's INSERT also for SQLite, which took ON CONFLICT over from it; SQLAlchemy has one
# for each, and compiles either for both.
from sqlalchemy.dialects.postgresql import insert

from chatcore_sqlalchemy.schema import chats, messages, users

lo = users.alias("lo")
hi = users.alias("hi")
peer = users.alias("peer")

_user_id = bindparam("user_id", type_=BigInteger)
_limit = bindparam("limit", type_=BigInteger)

USER_BY_NAME = select(users.c.id, users.c.name, users.c.password_hash).where(
    users.c.canonical == bindparam("canonical")
)
USER_BY_ID = select(users.c.id, users.c.name).where(users.c.id == _user_id)
PAIR = (
    select(users.c.id, users.c.name)
    .where(users.c.id.in_([bindparam("lo"), bindparam("hi")]))
    .order_by(users.c.id)
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
REPLACE_HASH = (
    update(users)
    .where(users.c.id == _user_id, users.c.password_hash == bindparam("old"))
    .values(password_hash=bindparam("new"))
)

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

_message = select(
    messages.c.chat_id, messages.c.seq, messages.c.sender_id, messages.c.text, messages.c.sent_us
).where(messages.c.chat_id == bindparam("chat_id"))
MESSAGES_AFTER = (
    _message.where(messages.c.seq > bindparam("seq")).order_by(messages.c.seq).limit(_limit)
)
MESSAGES_BEFORE = (
    _message.where(messages.c.seq < bindparam("seq")).order_by(messages.c.seq.desc()).limit(_limit)
)
