"""The EventLog on SQL."""

from collections.abc import Sequence
from functools import partial

from chatcore.events import Cursor, Entry
from chatcore.model import MAX_INT64
from chatcore_sqlalchemy.database import Database
from chatcore_sqlalchemy.queries import events


class SqlEventLog:
    """An EventLog. `SqlAlchemyStore` extends it."""

    _logs_name = ""
    """The name of the logs; empty until it is read."""

    @property
    def _database(self) -> Database:
        raise NotImplementedError

    async def end_of_log(self, user_id: int) -> Cursor:
        rows = await self._database.read(events.END_OF_LOG, user_id=user_id)
        start = Cursor(await self._log_name(), user_id, 0)
        return events.end(start, rows)

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        if after.log != await self._log_name() or after.n > MAX_INT64:
            return None
        # Read the cursor's own entry too: it shows whether the entries after it are complete.
        rows = await self._database.read(
            events.EVENTS_FROM, user_id=after.user_id, n=after.n, limit=limit + 1
        )
        return events.entries(after, rows, limit)

    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        return await self._database.write(
            partial(events.trim, keep=keep, since_us=since_us, after_user=after_user)
        )

    async def _log_name(self) -> str:
        if not self._logs_name:
            ((self._logs_name,),) = await self._database.read(events.LOG_NAME)
        return self._logs_name
