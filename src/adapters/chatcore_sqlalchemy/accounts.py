"""Who has which name: how users are added, and erased."""

from hashlib import sha256

from chatcore.errors import NameTaken, Refused, UserNotFound
from chatcore.model import User
from chatcore.names import UserName
from chatcore_sqlalchemy import statements as sql
from chatcore_sqlalchemy.group_commit import Run


class Meanwhile(Refused):
    """A chat was opened before all that this locks was locked. To be done again."""


def add_user(run: Run, name: UserName, password_hash: str, registered_us: int) -> User:
    added = run(
        sql.ADD_USER,
        name=name.typed,
        canonical=name.canonical,
        password_hash=password_hash,
        registered_us=registered_us,
    )
    # Asked last: the insert may have waited for whoever gives the name up.
    if not added or run(sql.RETIRED, digest=_digest(name.canonical)):
        raise NameTaken
    return User(added[0][0], name.typed)


def erase_user(run: Run, user_id: int, tombstone: UserName, erased_us: int) -> None:
    """Raises Meanwhile."""
    ((locked,),) = run(sql.LOCK_CHATS_OF, user_id=user_id)
    found = run(sql.LOCK_USER, user_id=user_id)
    if not found:
        raise UserNotFound
    ((chats,),) = run(sql.COUNT_CHATS_OF, user_id=user_id)
    if chats != locked:
        raise Meanwhile
    # Takes the name from all who want it now. The row goes, and what keeps the name is the
    # user's own.
    placeholder = add_user(run, tombstone, "", erased_us)
    run(sql.DROP_USER, user_id=placeholder.id)
    run(
        sql.ERASE_USER,
        user_id=user_id,
        name=tombstone.typed,
        canonical=tombstone.canonical,
        erased_us=erased_us,
    )
    run(sql.RETIRE, digest=_digest(found[0][0]))
    run(sql.CLOSE_CHATS_OF, user_id=user_id)
    run(sql.DROP_BLOCKS_OF, user_id=user_id)
    run(sql.DROP_LOG, user_id=user_id)


def _digest(canonical: str) -> str:
    return sha256(canonical.encode()).hexdigest()
