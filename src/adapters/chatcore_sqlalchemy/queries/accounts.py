"""Accounts: the credentials of users who log in with a password."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from chatcore.errors import UserNotFound
from chatcore.model import User, user_of
from chatcore.names import UserName
from chatcore.ports import Credentials
from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.queries import users as people
from chatcore_sqlalchemy.queries.parameters import USER_ID
from chatcore_sqlalchemy.queries.sessions import DROP_SESSIONS_OF
from chatcore_sqlalchemy.schema import accounts, users

_credentials = select(
    users.c.id,
    users.c.canonical,
    users.c.name,
    accounts.c.password_hash,
    accounts.c.tokens_from_us,
).join_from(users, accounts, accounts.c.user_id == users.c.id)
CREDENTIALS = _credentials.where(users.c.canonical == bindparam("canonical"))
CREDENTIALS_BY_ID = _credentials.where(users.c.id == USER_ID)

ADD_ACCOUNT = insert(accounts).values(user_id=USER_ID, password_hash=bindparam("password_hash"))
REPLACE_HASH = (
    update(accounts)
    .where(accounts.c.user_id == USER_ID, accounts.c.password_hash == bindparam("old"))
    .values(password_hash=bindparam("new"))
)

_from_us = bindparam("from_us", type_=BigInteger)
_second_later = accounts.c.tokens_from_us + literal_column("1000000", BigInteger)
VOID_TOKENS = (
    update(accounts)
    .where(accounts.c.user_id == USER_ID)
    .values(
        # CASE, because SQLite has no `greatest`.
        tokens_from_us=case((_from_us > _second_later, _from_us), else_=_second_later),
        password_hash=func.coalesce(
            bindparam("password_hash", type_=Text), accounts.c.password_hash
        ),
    )
    .returning(accounts.c.tokens_from_us)
)


def credentials_of(rows: Sequence[Sequence[Any]]) -> Credentials | None:
    """Decode the credentials of CREDENTIALS or CREDENTIALS_BY_ID; None without a row."""
    for user_id, key, name, *rest in rows:
        return Credentials(user_of(user_id, key, name), *rest)
    return None


def add_user(run: Run, name: UserName, password_hash: str, registered_us: int) -> User:
    """One step of `CredentialStore.add_user`. Raises NameTaken."""
    user = people.add_user(run, name.canonical, name.typed, registered_us)
    run(ADD_ACCOUNT, user_id=user.id, password_hash=password_hash)
    return user


def void_tokens(run: Run, user_id: int, from_us: int, password_hash: str | None) -> int:
    """One step of `CredentialStore.void_tokens`. Raises UserNotFound."""
    for (raised,) in run(
        VOID_TOKENS, user_id=user_id, from_us=from_us, password_hash=password_hash
    ):
        # After the update, which waits for a session that is being added.
        run(DROP_SESSIONS_OF, user_id=user_id)
        return int(raised)
    raise UserNotFound
