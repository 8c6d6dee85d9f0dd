"""Users: lookup by key and id, adding, renaming and erasure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import BigInteger, bindparam, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from chatcore.errors import NameTaken, UserErased, UserNotFound
from chatcore.handles import Person
from chatcore.model import User, user_of
from chatcore.names import UserName
from chatcore.ports import Put
from chatcore_sqlalchemy.errors import RetryTransaction
from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.queries.parameters import USER_ID
from chatcore_sqlalchemy.queries.sessions import DROP_SESSIONS_OF, LOCK_ACCOUNT
from chatcore_sqlalchemy.schema import (
    ERASED,
    accounts,
    blocks,
    chats,
    events,
    retired_names,
    users,
)

_user = select(users.c.id, users.c.canonical, users.c.name)
USER_BY_NAME = _user.where(users.c.canonical == bindparam("canonical"))
USER_BY_ID = _user.where(users.c.id == USER_ID)
# The keys are a JSON array. CROSS, or SQLite would scan a small table. Both statements have another
# form on PostgreSQL, where LOCK_USERS locks.
_WITH_KEYS = """
SELECT u.id, u.canonical, u.name
FROM json_each(:keys) AS wanted CROSS JOIN users AS u ON u.canonical = wanted.value
"""
USERS_BY_NAME = text(_WITH_KEYS)
LOCK_USERS = text(_WITH_KEYS)

ADD_USER = (
    insert(users)
    .values(
        name=bindparam("name"),
        canonical=bindparam("canonical"),
        password_hash="",
        registered_us=bindparam("registered_us"),
    )
    .on_conflict_do_nothing(index_elements=[users.c.canonical])
    .returning(users.c.id)
)
RETIRED = select(retired_names.c.digest).where(retired_names.c.digest == bindparam("digest"))
# Many users at a time, since a row is locked until the last one is written. Each parameter is a
# JSON array: of digests, of keys and names, of ids and names. PostgreSQL has other forms.
RETIRED_AMONG = text("""
SELECT r.digest FROM json_each(:digests) AS wanted
CROSS JOIN retired_names AS r ON r.digest = wanted.value
""")
ADD_PEOPLE = text("""
INSERT INTO users (name, canonical, password_hash, registered_us)
SELECT json_extract(value, '$[1]'), json_extract(value, '$[0]'), '', :registered_us
FROM json_each(:people) WHERE true
ON CONFLICT (canonical) DO NOTHING RETURNING id, canonical, name
""")
# MATERIALIZED, or SQLite would scan a small table.
RENAME_PEOPLE = text("""
WITH renamed AS MATERIALIZED (
    SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS name
    FROM json_each(:people)
)
UPDATE users SET name = renamed.name FROM renamed WHERE users.id = renamed.id
""")

_living = users.c.erased_us.is_(None)
_chats_of_user = or_(chats.c.lo_id == USER_ID, chats.c.hi_id == USER_ID)
COUNT_CHATS_OF = select(func.count()).select_from(chats).where(_chats_of_user)
# Counts them too: chats that were opened before the last lock do not match COUNT_CHATS_OF.
LOCK_CHATS_OF = select(func.count()).select_from(
    select(chats.c.id).where(_chats_of_user).subquery()
)
LOCK_USER = _user.where(users.c.id == USER_ID, _living).with_for_update()
DROP_USER = delete(users).where(users.c.id == USER_ID)
ERASE_USER = (
    update(users)
    .where(users.c.id == USER_ID)
    .values(
        name=bindparam("name"),
        canonical=bindparam("canonical"),
        erased_us=bindparam("erased_us", type_=BigInteger),
    )
)
RETIRE = insert(retired_names).values(digest=bindparam("digest"))
DROP_ACCOUNT = delete(accounts).where(accounts.c.user_id == USER_ID)
CLOSE_CHATS_OF = update(chats).where(_chats_of_user).values(closed=ERASED)
DROP_BLOCKS_OF = delete(blocks).where(or_(blocks.c.user_id == USER_ID, blocks.c.peer_id == USER_ID))
DROP_LOG = delete(events).where(events.c.user_id == USER_ID)


def first_user(rows: Sequence[Sequence[Any]]) -> User | None:
    """Decode the user of USER_BY_NAME or USER_BY_ID; None without a row."""
    return user_of(*rows[0]) if rows else None


def users_of(rows: Sequence[Sequence[Any]]) -> list[User]:
    """Decode the users of USERS_BY_NAME, LOCK_USERS or ADD_PEOPLE."""
    return [user_of(*row) for row in rows]


def json_of(items: Iterable[object]) -> str:
    """Encode a parameter that is a JSON array."""
    return json.dumps(list(items), ensure_ascii=False)


def add_user(run: Run, key: str, name: str, registered_us: int) -> User:
    """Add a user under a key that no user has or ever had. Raises NameTaken."""
    added = run(ADD_USER, name=name, canonical=key, registered_us=registered_us)
    # Checked last: the insert may have waited for an erasure that retires the key.
    if not added or run(RETIRED, digest=_digest(key)):
        raise NameTaken
    return user_of(added[0][0], key, name)


def put_users(run: Run, people: Sequence[Person], put_us: int) -> list[Put]:
    """One step of `People.put_users`. Raises UserErased and RetryTransaction."""
    # Locked before any insert, by ascending id as everywhere.
    found = run(LOCK_USERS, keys=json_of(person.key for person in people))
    known = {user.key: user for user in users_of(found)}
    names = {
        known[person.key].id: person.name
        for person in people
        if person.key in known and known[person.key].name != person.name
    }
    if names:
        run(RENAME_PEOPLE, people=json_of(names.items()))
    new = {person.key: person for person in people if person.key not in known}
    users = known | (_add_people(run, new, put_us) if new else {})
    named = [users[person.key]._replace(name=person.name) for person in people]
    return [Put(user, renamed=user.id in names) for user in named]


def _add_people(run: Run, people: Mapping[str, Person], put_us: int) -> dict[str, User]:
    """Add the people, by key. Raises UserErased and RetryTransaction."""
    # In one order, since a simultaneous call that adds the same key waits for this one.
    keys = sorted(people)
    # Before the insert, or each refused call would use up an id on PostgreSQL.
    _expect_not_retired(run, people)
    rows = run(
        ADD_PEOPLE,
        people=json_of((key, people[key].name) for key in keys),
        registered_us=put_us,
    )
    if len(rows) < len(keys):
        # A simultaneous call has added some of them.
        raise RetryTransaction
    # And after it, as in `add_user`.
    _expect_not_retired(run, people)
    return {user.key: user for user in users_of(rows)}


def _expect_not_retired(run: Run, people: Mapping[str, Person]) -> None:
    """Raise UserErased if a user with one of the keys was erased."""
    handles = {_digest(key): person.handle for key, person in people.items()}
    for (digest,) in run(RETIRED_AMONG, digests=json_of(handles)):
        raise UserErased(f"the user {handles[digest]!r} was erased")


def erase_user(run: Run, user_id: int, tombstone: UserName, erased_us: int) -> None:
    """One step of `Erasure.erase_user`. Raises UserNotFound, NameTaken and RetryTransaction."""
    ((locked,),) = run(LOCK_CHATS_OF, user_id=user_id)
    former = first_user(run(LOCK_USER, user_id=user_id))
    if former is None:
        raise UserNotFound
    ((count,),) = run(COUNT_CHATS_OF, user_id=user_id)
    if count != locked:
        raise RetryTransaction
    erased = former._replace(handle=tombstone.canonical, name=tombstone.typed)
    # A placeholder claims the tombstone's key against concurrent registrations; then it makes
    # room for the user's own row, which keeps the key.
    placeholder = add_user(run, erased.key, erased.name, erased_us)
    run(DROP_USER, user_id=placeholder.id)
    run(
        ERASE_USER,
        user_id=user_id,
        name=erased.name,
        canonical=erased.key,
        erased_us=erased_us,
    )
    run(RETIRE, digest=_digest(former.key))
    # Locked first, so that no session is added between the two.
    run(LOCK_ACCOUNT, user_id=user_id)
    run(DROP_SESSIONS_OF, user_id=user_id)
    run(DROP_ACCOUNT, user_id=user_id)
    run(CLOSE_CHATS_OF, user_id=user_id)
    run(DROP_BLOCKS_OF, user_id=user_id)
    run(DROP_LOG, user_id=user_id)


def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()
