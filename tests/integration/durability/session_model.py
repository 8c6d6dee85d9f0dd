"""The promises of a SessionStore in plain Python, and calls for the model test."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from hypothesis import strategies as st

from chatcore import DeviceSession, UserNotFound
from chatcore.ports import Credentials, NewSession, Renewal, Renewed

Undo = Callable[[], object]

METHODS = ("add_session", *["renew_session"] * 4, "end_session", "session_by_id", "sessions_of")
LIMIT = 3
IDLE = 60
LONGEST = 150
REPEAT = 4
"""Times are numbers: each call has the next one."""


class Record(NamedTuple):
    new: NewSession
    session: DeviceSession
    digest: bytes
    former: bytes = b""
    salt: bytes | None = None
    renewals: int = 0


class SessionModel:
    """The device sessions of a store. Mixed into `Model`, which has the accounts: a session without
    one has ended."""

    accounts: dict[int, Credentials]

    def __init__(self) -> None:
        self.sessions: dict[str, Record] = {}

    def session_by_id(self, session_id: str, now_us: int) -> DeviceSession | None:
        record = self._lasting(session_id, now_us)
        return record.session if record else None

    def sessions_of(self, user_id: int, now_us: int) -> Sequence[DeviceSession]:
        lasting = [
            record.session
            for record in self.sessions.values()
            if record.new.user_id == user_id and self._lasts(record, now_us)
        ]
        return sorted(lasting, key=lambda session: session.used_us, reverse=True)

    def _lasting(self, session_id: str, now_us: int) -> Record | None:
        record = self.sessions.get(session_id)
        return record if record and self._lasts(record, now_us) else None

    def _lasts(self, record: Record, now_us: int) -> bool:
        return record.new.user_id in self.accounts and now_us < record.session.expires_us

    def _add_session(
        self, outcome: Any, new: NewSession, *, tokens_from_us: int, limit: int
    ) -> Undo | None:
        account = self.accounts.get(new.user_id)
        if account is None or account.tokens_from_us != tokens_from_us:
            return self._unchanged(outcome is UserNotFound)
        lasting = self.sessions_of(new.user_id, new.created_us)
        ended = [session.id for session in lasting[limit - 1 :]]
        if outcome != ended:
            return None
        kept = {session.id for session in lasting[: limit - 1]}
        after = {
            id_: record
            for id_, record in self.sessions.items()
            if record.new.user_id != new.user_id or id_ in kept
        }
        session = DeviceSession(
            new.id, account.user, new.device, new.created_us, new.created_us, new.expires_us
        )
        return self._change(after | {new.id: Record(new, session, new.digest)})

    def _renew_session(self, outcome: Any, renewal: Renewal) -> Undo | None:
        record = self._lasting(renewal.session_id, renewal.at_us)
        if record is None:
            return self._unchanged(outcome is None)
        session = record.session
        if record.digest == renewal.digest:
            expires_us = min(renewal.expires_us, record.new.ends_us)
            session = session._replace(used_us=renewal.at_us, expires_us=expires_us)
            if outcome != Renewed(session, renewal.salt):
                return None
            renewed = Record(
                record.new,
                session,
                renewal.successor,
                renewal.digest,
                renewal.salt,
                record.renewals + 1,
            )
            return self._change(self.sessions | {session.id: renewed})
        if record.former == renewal.digest and session.used_us > renewal.repeat_since_us:
            return self._unchanged(outcome == Renewed(session, record.salt))
        return self._without(session.id) if outcome == Renewed(session, None) else None

    def _end_session(self, outcome: Any, user_id: int, session_id: str, now_us: int) -> Undo | None:
        record = self._lasting(session_id, now_us)
        if record is None or record.new.user_id != user_id:
            return self._unchanged(outcome is False)
        return self._without(session_id) if outcome is True else None

    def _without(self, session_id: str) -> Undo:
        return self._change({id_: it for id_, it in self.sessions.items() if id_ != session_id})

    def _change(self, after: dict[str, Record]) -> Undo:
        before, self.sessions = self.sessions, after
        return lambda: setattr(self, "sessions", before)

    def _unchanged(self, possible: bool) -> Undo | None:
        return (lambda: None) if possible else None


class SessionPlan(NamedTuple):
    """An abstract call, as `Plan` is."""

    method: str
    first: int
    second: int


session_plans = st.builds(
    SessionPlan, st.sampled_from(METHODS), st.integers(0, 59), st.integers(0, 59)
)


def session_call(
    plan: SessionPlan, user_id: int, sessions: Mapping[str, Record], number: int
) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Make a plan into a call at the time `number`: its method, arguments and options."""
    ids = [*sessions, "0" * 32]
    id_ = ids[plan.second % len(ids)]
    if plan.method == "add_session":
        new = f"{number:032x}"
        arguments = (new, user_id, "phone", _digest(new, 0), number, number + IDLE)
        options = {"tokens_from_us": int(plan.second % 9 == 0), "limit": LIMIT}
        return plan.method, (NewSession(*arguments, number + LONGEST),), options
    if plan.method == "renew_session":
        renewals = sessions[id_].renewals if id_ in sessions else 0
        # Mostly the present token, or the one before it.
        token = max(renewals - (0, 0, 0, 0, 1, 1, 2, -1)[plan.first % 8], 0)
        successor, salt = _digest(id_, token + 1), _digest("salt", number)
        renewal = Renewal(
            id_, _digest(id_, token), successor, salt, number, number - REPEAT, number + IDLE
        )
        return plan.method, (renewal,), {}
    if plan.method == "end_session":
        owner = sessions[id_].new.user_id if id_ in sessions and plan.first % 4 else user_id
        return plan.method, (owner, id_, number), {}
    if plan.method == "session_by_id":
        return plan.method, (id_, number), {}
    return plan.method, (user_id, number), {}


def _digest(*words: object) -> bytes:
    return sha256(repr(words).encode()).digest()
