"""Device sessions in memory."""

from collections.abc import Sequence
from dataclasses import replace

from chatcore.errors import UserNotFound
from chatcore.ports import DeviceSession, NewSession, Renewal, Renewed
from chatcore_memory.contents import Contents, SessionRecord


class MemorySessions:
    """A SessionStore. `MemoryStore` extends it."""

    def __init__(self) -> None:
        self.contents = Contents()

    async def add_session(
        self, new: NewSession, *, tokens_from_us: int, limit: int
    ) -> Sequence[str]:
        account = self.contents.accounts.get(new.user_id)
        if account is None or account.tokens_from_us != tokens_from_us:
            raise UserNotFound
        sessions = self.contents.sessions
        for session_id, record in [*sessions.items()]:
            if record.new.user_id == new.user_id and not record.lasts(new.created_us):
                del sessions[session_id]
        kept = await self.sessions_of(new.user_id, new.created_us)
        ended = [session.id for session in kept[limit - 1 :]]
        for session_id in ended:
            del sessions[session_id]
        sessions[new.id] = SessionRecord(
            new, digest=new.digest, used_us=new.created_us, expires_us=new.expires_us
        )
        return ended

    async def session_by_id(self, session_id: str, now_us: int) -> DeviceSession | None:
        record = self.contents.sessions.get(session_id)
        return self._session(record) if record and record.lasts(now_us) else None

    async def sessions_of(self, user_id: int, now_us: int) -> Sequence[DeviceSession]:
        records = [
            record
            for record in self.contents.sessions.values()
            if record.new.user_id == user_id and record.lasts(now_us)
        ]
        records.sort(key=lambda record: (record.used_us, record.new.id), reverse=True)
        return [self._session(record) for record in records]

    async def renew_session(self, renewal: Renewal) -> Renewed | None:
        sessions = self.contents.sessions
        record = sessions.get(renewal.session_id)
        if record is None or not record.lasts(renewal.at_us):
            return None
        if record.digest == renewal.digest:
            record = sessions[renewal.session_id] = replace(
                record,
                digest=renewal.successor,
                former=renewal.digest,
                salt=renewal.salt,
                used_us=renewal.at_us,
                expires_us=min(renewal.expires_us, record.new.ends_us),
            )
        elif record.former != renewal.digest or record.used_us <= renewal.repeat_since_us:
            del sessions[renewal.session_id]
            return Renewed(self._session(record), None)
        return Renewed(self._session(record), record.salt)

    async def end_session(self, user_id: int, session_id: str, now_us: int) -> bool:
        record = self.contents.sessions.get(session_id)
        if record is None or record.new.user_id != user_id or not record.lasts(now_us):
            return False
        del self.contents.sessions[session_id]
        return True

    def _end_sessions_of(self, user_id: int) -> None:
        sessions = self.contents.sessions
        for session_id, record in [*sessions.items()]:
            if record.new.user_id == user_id:
                del sessions[session_id]

    def _session(self, record: SessionRecord) -> DeviceSession:
        new = record.new
        user = self.contents.accounts[new.user_id].user
        return DeviceSession(
            new.id, user, new.device, new.created_us, record.used_us, record.expires_us
        )
