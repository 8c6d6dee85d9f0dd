"""Sessions of devices."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, LargeBinary, bindparam, case, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from chatcore.errors import UserNotFound
from chatcore.model import user_of
from chatcore.ports import DeviceSession, NewSession, Renewal, Renewed
from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.queries.parameters import USER_ID
from chatcore_sqlalchemy.schema import accounts, sessions, users

_id = sessions.c.id == bindparam("session_id")
_lasts = sessions.c.expires_us > bindparam("now_us", type_=BigInteger)
_digest = bindparam("digest", type_=LargeBinary)

_session = select(
    users.c.id,
    users.c.canonical,
    users.c.name,
    sessions.c.id,
    sessions.c.device,
    sessions.c.created_us,
    sessions.c.used_us,
    sessions.c.expires_us,
).join_from(sessions, users, users.c.id == sessions.c.user_id)
SESSION_BY_ID = _session.where(_id, _lasts)
SESSIONS_OF = _session.where(sessions.c.user_id == USER_ID, _lasts)

LOCK_ACCOUNT = (
    select(accounts.c.tokens_from_us).where(accounts.c.user_id == USER_ID).with_for_update()
)
ADD_SESSION = insert(sessions).values(
    id=bindparam("session_id"),
    user_id=USER_ID,
    device=bindparam("device"),
    digest=_digest,
    created_us=bindparam("created_us"),
    used_us=bindparam("created_us"),
    expires_us=bindparam("expires_us"),
    ends_us=bindparam("ends_us"),
)
DROP_EXPIRED = delete(sessions).where(
    sessions.c.user_id == USER_ID,
    sessions.c.expires_us <= bindparam("now_us", type_=BigInteger),
)
DROP_SESSIONS_OF = delete(sessions).where(sessions.c.user_id == USER_ID)
END_SESSION = (
    delete(sessions).where(_id, sessions.c.user_id == USER_ID, _lasts).returning(sessions.c.id)
)

LOCK_SESSION = select(sessions.c.id).where(_id).with_for_update()
_expires_us = bindparam("expires_us", type_=BigInteger)
RENEW = (
    update(sessions)
    .where(_id, _lasts, sessions.c.digest == _digest)
    .values(
        former=sessions.c.digest,
        digest=bindparam("successor"),
        salt=bindparam("salt"),
        used_us=bindparam("used_us"),
        # CASE, because SQLite has no `least`.
        expires_us=case((sessions.c.ends_us < _expires_us, sessions.c.ends_us), else_=_expires_us),
    )
    .returning(sessions.c.salt)
)
REPEATED = select(sessions.c.salt).where(
    _id,
    _lasts,
    sessions.c.former == _digest,
    sessions.c.used_us > bindparam("repeat_since_us", type_=BigInteger),
)


def session_of(row: Sequence[Any]) -> DeviceSession:
    """Decode a row of SESSION_BY_ID."""
    user_id, key, name, session_id, *rest = row
    return DeviceSession(session_id, user_of(user_id, key, name), *rest)


def sessions_of(rows: Sequence[Sequence[Any]]) -> list[DeviceSession]:
    """Decode the rows of SESSIONS_OF, the most recently used session first."""
    # Few rows: an index in this order would be written at every renewal.
    return sorted(map(session_of, rows), key=lambda session: session.used_us, reverse=True)


def add_session(run: Run, new: NewSession, tokens_from_us: int, limit: int) -> list[str]:
    """One step of `SessionStore.add_session`. Raises UserNotFound."""
    account = run(LOCK_ACCOUNT, user_id=new.user_id)
    if not account or account[0][0] != tokens_from_us:
        raise UserNotFound
    now_us = new.created_us
    run(DROP_EXPIRED, user_id=new.user_id, now_us=now_us)
    kept = sessions_of(run(SESSIONS_OF, user_id=new.user_id, now_us=now_us))
    ended = [session.id for session in kept[limit - 1 :]]
    for session_id in ended:
        run(END_SESSION, user_id=new.user_id, session_id=session_id, now_us=now_us)
    run(
        ADD_SESSION,
        session_id=new.id,
        user_id=new.user_id,
        device=new.device,
        digest=new.digest,
        created_us=new.created_us,
        expires_us=new.expires_us,
        ends_us=new.ends_us,
    )
    return ended


def renew_session(run: Run, renewal: Renewal) -> Renewed | None:
    """One step of `SessionStore.renew_session`."""
    session_id, now_us, digest = renewal.session_id, renewal.at_us, renewal.digest
    # So that the statements below see one state of the session.
    run(LOCK_SESSION, session_id=session_id)
    salts = run(
        RENEW,
        session_id=session_id,
        now_us=now_us,
        digest=digest,
        successor=renewal.successor,
        salt=renewal.salt,
        used_us=now_us,
        expires_us=renewal.expires_us,
    ) or run(
        REPEATED,
        session_id=session_id,
        now_us=now_us,
        digest=digest,
        repeat_since_us=renewal.repeat_since_us,
    )
    for row in run(SESSION_BY_ID, session_id=session_id, now_us=now_us):
        session = session_of(row)
        if salts:
            return Renewed(session, salts[0][0])
        if run(END_SESSION, session_id=session_id, user_id=session.user.id, now_us=now_us):
            return Renewed(session, None)
    return None
