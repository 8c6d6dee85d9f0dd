"""Who blocks whom, which closes the chat of the two."""

from chatcore.errors import UserNotFound
from chatcore_sqlalchemy import statements as sql
from chatcore_sqlalchemy.accounts import Meanwhile
from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.schema import HI_BLOCKS, LO_BLOCKS


def block(run: Run, user_id: int, peer_id: int, blocked_us: int) -> None:
    """Raises Meanwhile."""
    chat = _lock(run, user_id, peer_id)
    run(sql.BLOCK, user_id=user_id, peer_id=peer_id, blocked_us=blocked_us)
    for chat_id, reasons in chat:
        run(sql.CLOSE_CHAT, chat_id=chat_id, reasons=reasons | _reason(user_id, peer_id))


def unblock(run: Run, user_id: int, peer_id: int) -> None:
    """Raises UserNotFound when one of them is nobody, who blocks nobody, and Meanwhile."""
    chat = _lock(run, user_id, peer_id)
    run(sql.UNBLOCK, user_id=user_id, peer_id=peer_id)
    for chat_id, reasons in chat:
        run(sql.CLOSE_CHAT, chat_id=chat_id, reasons=reasons & ~_reason(user_id, peer_id))


def _lock(run: Run, user_id: int, peer_id: int) -> list[tuple[int, int]]:
    """The id of the chat of two users, if there is one, and why it is closed."""
    lo, hi = min(user_id, peer_id), max(user_id, peer_id)
    chat = [(chat_id, reasons) for chat_id, reasons in run(sql.LOCK_CHAT_OF_PAIR, lo=lo, hi=hi)]
    if len(run(sql.PAIR, lo=lo, hi=hi)) < 2:
        raise UserNotFound
    if not chat and run(sql.CHAT_OF_PAIR, lo=lo, hi=hi):
        raise Meanwhile
    return chat


def _reason(user_id: int, peer_id: int) -> int:
    return LO_BLOCKS if user_id < peer_id else HI_BLOCKS
