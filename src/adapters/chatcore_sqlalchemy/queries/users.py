"""Users: names, credentials, registration, erasure."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    BigInteger,
    Text,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from chatcore.errors import NameTaken, UserNotFound
from chatcore.model import User
from chatcore.names import UserName
from chatcore.ports import Credentials
from chatcore_sqlalchemy.errors import RetryTransaction
from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.queries.parameters import USER_ID
from chatcore_sqlalchemy.schema import ERASED, blocks, chats, events, retired_names, users

USER_BY_NAME = select(users.c.id, users.c.name).where(users.c.canonical == bindparam("canonical"))
USER_BY_ID = select(users.c.id, users.c.name).where(users.c.id == USER_ID)
_living = users.c.erased_us.is_(None)
_credentials = select(
    users.c.id, users.c.name, users.c.password_hash, users.c.tokens_from_us
).where(_living)
CREDENTIALS = _credentials.where(users.c.canonical == bindparam("canonical"))
CREDENTIALS_BY_ID = _credentials.where(users.c.id == USER_ID)

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
    .where(users.c.id == USER_ID, users.c.password_hash == bindparam("old"), _living)
    .values(password_hash=bindparam("new"))
)

_from_us = bindparam("from_us", type_=BigInteger)
_second_later = users.c.tokens_from_us + literal_column("1000000", BigInteger)
VOID_TOKENS = (
    update(users)
    .where(users.c.id == USER_ID, _living)
    .values(
        # CASE, because SQLite has no `greatest`.
        tokens_from_us=case((_from_us > _second_later, _from_us), else_=_second_later),
        password_hash=func.coalesce(bindparam("password_hash", type_=Text), users.c.password_hash),
    )
    .returning(users.c.tokens_from_us)
)

_chats_of_user = or_(chats.c.lo_id == USER_ID, chats.c.hi_id == USER_ID)
COUNT_CHATS_OF = select(func.count()).select_from(chats).where(_chats_of_user)
# Counts them too: chats that were opened before the last lock do not match COUNT_CHATS_OF.
LOCK_CHATS_OF = select(func.count()).select_from(
    select(chats.c.id).where(_chats_of_user).subquery()
)
LOCK_USER = select(users.c.canonical).where(users.c.id == USER_ID, _living).with_for_update()
DROP_USER = delete(users).where(users.c.id == USER_ID)
ERASE_USER = (
    update(users)
    .where(users.c.id == USER_ID)
    .values(
        name=bindparam("name"),
        canonical=bindparam("canonical"),
        password_hash="",
        erased_us=bindparam("erased_us", type_=BigInteger),
    )
)
RETIRE = insert(retired_names).values(digest=bindparam("digest"))
CLOSE_CHATS_OF = update(chats).where(_chats_of_user).values(closed=ERASED)
DROP_BLOCKS_OF = delete(blocks).where(or_(blocks.c.user_id == USER_ID, blocks.c.peer_id == USER_ID))
DROP_LOG = delete(events).where(events.c.user_id == USER_ID)


def user_of(rows: Sequence[Sequence[Any]]) -> User | None:
    """Decode the user of USER_BY_NAME or USER_BY_ID; None without a row."""
    return User(*rows[0]) if rows else None


def credentials_of(rows: Sequence[Sequence[Any]]) -> Credentials | None:
    """Decode the credentials of CREDENTIALS or CREDENTIALS_BY_ID; None without a row."""
    for user_id, name, *rest in rows:
        return Credentials(User(user_id, name), *rest)
    return None


def add_user(run: Run, name: UserName, password_hash: str, registered_us: int) -> User:
    """One step of `AccountStore.add_user`. Raises NameTaken."""
    added = run(
        ADD_USER,
        name=name.typed,
        canonical=name.canonical,
        password_hash=password_hash,
        registered_us=registered_us,
    )
    # Checked last: the insert may have waited for an erasure that retires the name.
    if not added or run(RETIRED, digest=_digest(name.canonical)):
        raise NameTaken
    return User(added[0][0], name.typed)


def erase_user(run: Run, user_id: int, tombstone: UserName, erased_us: int) -> None:
    """One step of `AccountStore.erase_user`. Raises UserNotFound, NameTaken and
    RetryTransaction."""
    ((locked,),) = run(LOCK_CHATS_OF, user_id=user_id)
    found = run(LOCK_USER, user_id=user_id)
    if not found:
        raise UserNotFound
    ((count,),) = run(COUNT_CHATS_OF, user_id=user_id)
    if count != locked:
        raise RetryTransaction
    # A placeholder claims the tombstone's name against concurrent registrations; then it makes
    # room for the user's own row, which keeps the name.
    placeholder = add_user(run, tombstone, "", erased_us)
    run(DROP_USER, user_id=placeholder.id)
    run(
        ERASE_USER,
        user_id=user_id,
        name=tombstone.typed,
        canonical=tombstone.canonical,
        erased_us=erased_us,
    )
    run(RETIRE, digest=_digest(found[0][0]))
    run(CLOSE_CHATS_OF, user_id=user_id)
    run(DROP_BLOCKS_OF, user_id=user_id)
    run(DROP_LOG, user_id=user_id)


def void_tokens(run: Run, user_id: int, from_us: int, password_hash: str | None) -> int:
    """One step of `AccountStore.void_tokens`. Raises UserNotFound."""
    for (raised,) in run(
        VOID_TOKENS, user_id=user_id, from_us=from_us, password_hash=password_hash
    ):
        return int(raised)
    raise UserNotFound


def _digest(canonical: str) -> str:
    return sha256(canonical.encode()).hexdigest()
