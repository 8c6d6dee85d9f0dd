"""The SessionStore on SQL."""

from collections.abc import Sequence

from chatcore.ports import DeviceSession, NewSession, Renewal, Renewed
from chatcore_sqlalchemy.database import Database
from chatcore_sqlalchemy.queries import sessions


class SqlSessions:
    """A SessionStore. `SqlAlchemyStore` extends it."""

    @property
    def _database(self) -> Database:
        raise NotImplementedError

    async def add_session(
        self, new: NewSession, *, tokens_from_us: int, limit: int
    ) -> Sequence[str]:
        return await self._database.write(
            lambda run: sessions.add_session(run, new, tokens_from_us, limit)
        )

    async def session_by_id(self, session_id: str, now_us: int) -> DeviceSession | None:
        rows = await self._database.read(
            sessions.SESSION_BY_ID, session_id=session_id, now_us=now_us
        )
        return sessions.session_of(rows[0]) if rows else None

    async def sessions_of(self, user_id: int, now_us: int) -> Sequence[DeviceSession]:
        rows = await self._database.read(sessions.SESSIONS_OF, user_id=user_id, now_us=now_us)
        return sessions.sessions_of(rows)

    async def renew_session(self, renewal: Renewal) -> Renewed | None:
        # An invented token must not wait for the writes of others.
        if await self.session_by_id(renewal.session_id, renewal.at_us) is None:
            return None
        return await self._database.write(lambda run: sessions.renew_session(run, renewal))

    async def end_session(self, user_id: int, session_id: str, now_us: int) -> bool:
        ended = await self._database.write(
            lambda run: run(
                sessions.END_SESSION, user_id=user_id, session_id=session_id, now_us=now_us
            )
        )
        return bool(ended)
