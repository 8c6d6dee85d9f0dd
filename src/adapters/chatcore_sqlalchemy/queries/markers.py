"""Read markers, and the counts and copies that move with them."""

from sqlalchemy import BigInteger, Column, ColumnElement, bindparam, case, select, update

from chatcore.errors import ChatNotFound
from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.queries.events import append_entries
from chatcore_sqlalchemy.queries.pairs import lock_pair
from chatcore_sqlalchemy.queries.parameters import CHAT_ID
from chatcore_sqlalchemy.schema import HI_READ, LO_READ, chats, messages

_chat = chats.c.id == CHAT_ID
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


def _peer_sees(before: Column[int]) -> ColumnElement[int]:
    return case((chats.c.closed == 0, _seq), else_=before)


MOVE_LO_MARKER = (
    update(chats)
    .where(_chat)
    .values(lo_read=_seq, lo_seen=_seq - _lo_sent, lo_told=_peer_sees(chats.c.lo_told))
)
MOVE_HI_MARKER = (
    update(chats)
    .where(_chat)
    .values(hi_read=_seq, hi_seen=_lo_sent, hi_told=_peer_sees(chats.c.hi_told))
)


def move_read_marker(run: Run, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
    """One step of `ChatStore.move_read_marker`. Raises ChatNotFound."""
    for lo, lo_read, hi, hi_read, last_seq, closed in run(MARKERS, chat_id=chat_id):
        marker = min(seq, last_seq)
        if user_id == lo:
            before, kind, move = lo_read, LO_READ, MOVE_LO_MARKER
        elif user_id == hi:
            before, kind, move = hi_read, HI_READ, MOVE_HI_MARKER
        else:
            break
        if marker > before:
            notified = [user.id for user in lock_pair(run, lo, hi)]
            if closed:
                notified = [user for user in notified if user == user_id]
            run(move, chat_id=chat_id, seq=marker)
            append_entries(run, notified, kind, chat_id, marker, moved_us)
        return int(max(marker, before))
    raise ChatNotFound
