"""Blocks: which users block which. A block closes the chat of the pair."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from chatcore.model import User, user_of
from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.queries.pairs import CLOSE_CHAT, lock_chat_of_pair
from chatcore_sqlalchemy.queries.parameters import LIMIT, PEER_ID, USER_ID
from chatcore_sqlalchemy.schema import HI_BLOCKS, LO_BLOCKS, blocks, users

BLOCK = (
    insert(blocks)
    .values(user_id=USER_ID, peer_id=PEER_ID, blocked_us=bindparam("blocked_us"))
    .on_conflict_do_nothing(index_elements=[blocks.c.user_id, blocks.c.peer_id])
)
UNBLOCK = delete(blocks).where(blocks.c.user_id == USER_ID, blocks.c.peer_id == PEER_ID)
BLOCKED_BY = (
    select(users.c.id, users.c.canonical, users.c.name)
    .join_from(blocks, users, users.c.id == blocks.c.peer_id)
    .where(blocks.c.user_id == USER_ID, blocks.c.peer_id > bindparam("after"))
    .order_by(blocks.c.peer_id)
    .limit(LIMIT)
)


def users_of(rows: Sequence[Sequence[Any]]) -> list[User]:
    """Decode the rows of BLOCKED_BY."""
    return [user_of(*row) for row in rows]


def block(run: Run, user_id: int, peer_id: int, blocked_us: int) -> None:
    """One step of `BlockList.block`. Raises UserNotFound and RetryTransaction."""
    chat = lock_chat_of_pair(run, user_id, peer_id)
    run(BLOCK, user_id=user_id, peer_id=peer_id, blocked_us=blocked_us)
    for chat_id, reasons in chat:
        run(CLOSE_CHAT, chat_id=chat_id, reasons=reasons | _reason(user_id, peer_id))


def unblock(run: Run, user_id: int, peer_id: int) -> None:
    """One step of `BlockList.unblock`. Raises RetryTransaction, and UserNotFound if either user is
    unknown or erased and so has no blocks."""
    chat = lock_chat_of_pair(run, user_id, peer_id)
    run(UNBLOCK, user_id=user_id, peer_id=peer_id)
    for chat_id, reasons in chat:
        run(CLOSE_CHAT, chat_id=chat_id, reasons=reasons & ~_reason(user_id, peer_id))


def _reason(user_id: int, peer_id: int) -> int:
    return LO_BLOCKS if user_id < peer_id else HI_BLOCKS
