"""A pair of users and its one chat: locking, opening, closing."""

from sqlalchemy import BigInteger, bindparam, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from chatcore.errors import ChatExists, UserNotFound
from chatcore.model import Chat, User, user_of
from chatcore_sqlalchemy.errors import RetryTransaction
from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.queries.chats import newest_activity
from chatcore_sqlalchemy.queries.events import append_entries
from chatcore_sqlalchemy.queries.parameters import CHAT_ID, PEER_ID, USER_ID
from chatcore_sqlalchemy.schema import OPENED, blocks, chats, users

# Each transaction that writes to users' logs, or raises the activity of their chats, locks the chat
# first and then these rows, by ascending ids, so there are no deadlocks. (SQLite has one writer and
# no row locks.) Erased users are left out: nothing is written for them.
PAIR = (
    select(users.c.id, users.c.canonical, users.c.name)
    .where(users.c.id.in_([bindparam("lo"), bindparam("hi")]), users.c.erased_us.is_(None))
    .order_by(users.c.id)
    .with_for_update(key_share=True)
)

ADD_CHAT = (
    insert(chats)
    .values(
        lo_id=bindparam("lo"),
        hi_id=bindparam("hi"),
        last_seq=0,
        activity=newest_activity("lo", "hi").scalar_subquery() + 1,
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
    update(chats).where(chats.c.id == CHAT_ID).values(closed=bindparam("reasons", type_=BigInteger))
)
BLOCKS_OF_PAIR = select(blocks.c.user_id).where(
    or_(
        (blocks.c.user_id == USER_ID) & (blocks.c.peer_id == PEER_ID),
        (blocks.c.user_id == PEER_ID) & (blocks.c.peer_id == USER_ID),
    )
)


def lock_pair(run: Run, lo: int, hi: int) -> list[User]:
    """Lock the two users and return them by ascending id, without erased ones."""
    return [user_of(*row) for row in run(PAIR, lo=lo, hi=hi)]


def lock_chat_of_pair(run: Run, user_id: int, peer_id: int) -> list[tuple[int, int]]:
    """Lock two users and their chat; return its id and why it is closed, or nothing without a chat.

    Raises UserNotFound if either user is unknown or erased, and RetryTransaction.
    """
    lo, hi = min(user_id, peer_id), max(user_id, peer_id)
    chat = [(chat_id, reasons) for chat_id, reasons in run(LOCK_CHAT_OF_PAIR, lo=lo, hi=hi)]
    if len(lock_pair(run, lo, hi)) < 2:
        raise UserNotFound
    if not chat and run(CHAT_OF_PAIR, lo=lo, hi=hi):
        raise RetryTransaction
    return chat


def open_chat(run: Run, lo: int, hi: int, opened_us: int) -> Chat:
    """One step of `ChatStore.open_chat`. Raises ChatExists and UserNotFound."""
    pair = lock_pair(run, lo, hi)
    if len(pair) < 2 or run(BLOCKS_OF_PAIR, user_id=lo, peer_id=hi):
        raise ChatExists if run(CHAT_OF_PAIR, lo=lo, hi=hi) else UserNotFound
    added = run(ADD_CHAT, lo=lo, hi=hi, opened_us=opened_us)
    if not added:
        raise ChatExists
    ((chat_id,),) = added
    append_entries(run, (lo, hi), OPENED, chat_id, 0, opened_us)
    first, second = pair
    return Chat(chat_id, (first, second))
