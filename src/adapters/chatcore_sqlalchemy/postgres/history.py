"""Keeps a process on one history of the database: one server, or the standby that replaced it.

A standby that takes over begins a new timeline, with a higher number. An asynchronous one may lack
the newest writes, and then gives their numbers again. So sessions from before it took over are not
used again, and what was read on them is forgotten. A server on a lower timeline is a former
primary: what is written there will be lost.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn
from weakref import WeakKeyDictionary

import asyncpg

from chatcore.errors import StoreUnavailable
from chatcore.model import elapsed
from chatcore_sqlalchemy.postgres.connection import (
    Connection,
    Source,
    ends_connection,
    in_one_line,
)
from chatcore_sqlalchemy.postgres.statement import in_schema

AGE_SECONDS = 60.0
AGE_SPREAD_SECONDS = 30.0
"""How long a session is used, and how much longer at random: then a new one replaces it, since the
address may lead to another server now, and the former one may still answer."""

QUIET_SECONDS = 600.0
"""How long the same line is not logged again."""

_READ_ONLY = "default_transaction_read_only"
_STANDBY = "in_hot_standby"
"""Settings that a server of PostgreSQL 14 or later reports by itself, with its answers."""

_SYSTEM = "the system identifier"
_TIMELINE = "the timeline"
_RECOVERY = "whether the server is a standby"
_READINGS = {
    _SYSTEM: "(SELECT system_identifier FROM pg_control_system())",
    # On a standby, which has no current position in its WAL, the functions fail.
    _TIMELINE: "CASE WHEN pg_is_in_recovery() THEN NULL "
    "ELSE pg_walfile_name(pg_current_wal_lsn()) END",
    _RECOVERY: "pg_is_in_recovery()",
}
_READ = """
SELECT {readings}, current_setting('transaction_read_only'), store.system_id, store.timeline
FROM {{schema}}.store WHERE id = 1
"""

# Only upwards, whichever process comes last. Without a wait for standbys: a server that waits for
# one still answers reads. A row that is lost is written again by the next session.
#
# An asynchronous standby may lack the newest users and chats. Their ids must not be given again,
# because tokens and links may still name them; `nextval` needs no right beyond that of inserting.
_KEEP = """
BEGIN; SET LOCAL synchronous_commit = local;
WITH later AS (
    UPDATE {{schema}}.store SET timeline = {timeline}
    WHERE id = 1 AND timeline < {timeline} RETURNING id
)
SELECT count(nextval(pg_get_serial_sequence($t${{schema}}.users$t$, 'id'))),
    count(nextval(pg_get_serial_sequence($t${{schema}}.chats$t$, 'id')))
FROM later, generate_series(1, {ids});
UPDATE {{schema}}.store
SET system_id = coalesce(system_id, {system}), timeline = greatest(timeline, {timeline})
WHERE id = 1 AND (system_id IS NULL OR coalesce(timeline, 0) < coalesce({timeline}, 0));
COMMIT
"""

IDS_LEFT_OUT = 100_000
"""How many ids of users and of chats are left out when another server takes over."""

# Classes of SQLSTATE that say nothing about whether a function can be called: connections,
# conflicts, resources, interventions.
_PASSING = {"08", "40", "53", "55", "57"}

ADOPT = "if it is the right one, stop all services and run `chatcore migrate --adopt`"

logger = logging.getLogger("chatcore")


class Lineage(NamedTuple):
    """A server's system identifier and timeline; None for what cannot be read."""

    system: int | None = None
    timeline: int | None = None

    def __str__(self) -> str:
        system, timeline = ("unknown" if it is None else it for it in self)
        return f"system identifier {system}, timeline {timeline}"

    def refusal(self, known: "Lineage") -> str | None:
        """Say why a server of this lineage cannot continue the known one; None if it can."""
        if None not in (self.system, known.system) and self.system != known.system:
            return (
                f"the database server has the system identifier {self.system}, and this store was "
                f"on {known.system}: a restored or another server; {ADOPT}"
            )
        if self.timeline is not None and self.timeline < (known.timeline or 0):
            return (
                f"the database server is on timeline {self.timeline}, and this store was on "
                f"{known.timeline}: a former primary, or an older state; {ADOPT}"
            )
        return None

    def continues(self, known: "Lineage") -> bool:
        """Whether another server, or a restored one, took over since the known lineage."""
        return known.timeline is not None and (self.timeline or 0) > known.timeline

    def joined(self, known: "Lineage") -> "Lineage":
        """The lineage that is known after this one was found."""
        system = known.system if self.system is None else self.system
        timelines = [found for found in (self.timeline, known.timeline) if found is not None]
        return Lineage(system, max(timelines, default=None))


class Reading(NamedTuple):
    """What a session finds at its start."""

    present: Lineage
    kept: Lineage
    """The lineage in the store."""
    standby: bool
    read_only: bool


@dataclass(slots=True)
class _Session:
    epoch: int
    until: float
    read_only: str | None
    """`default_transaction_read_only` at its start; None from a server that does not report it."""
    reported: Callable[[str], str]


class History:
    """Connects to the server of a source, as long as its history continues the one that the store
    and this process have seen.

    `epoch` counts the times that another server took over. A result of a session from before such a
    time must not be used after it.
    """

    def __init__(self, source: Source, schema: str) -> None:
        self.epoch = 0
        self.kept = Lineage()
        """The highest lineage that is known to be in the store."""
        self._source = source
        self._schema = schema
        self._seen = Lineage()
        self._admitted = False
        self._readings = dict(_READINGS)
        self._sessions: WeakKeyDictionary[Connection, _Session] = WeakKeyDictionary()
        self._unchecked: set[Connection] = set()
        self._callbacks: list[Callable[[], None]] = []
        self._logged: dict[str, float] = {}

    def on_change(self, forget: Callable[[], None]) -> None:
        """Call `forget` when another server took over, and whenever a connection was lost, which
        may be its first sign. It returns at once and raises nothing."""
        self._callbacks.append(forget)

    def lost(self) -> None:
        """Forget what was read: a connection broke."""
        for forget in self._callbacks:
            forget()

    async def connect(self) -> Connection:
        """Return a new session, with the settings and time limits of the store.

        Raises StoreUnavailable for a server that does not continue the history, and for a standby;
        else as the source does.
        """
        connection = await self._source.connect()
        self._unchecked.add(connection)
        try:
            await self._admit(connection)
        except StoreUnavailable:
            # Of several servers, the next attempt must not find this one first again.
            self._source.avoid(connection)
            connection.terminate()
            raise
        except BaseException:
            connection.terminate()
            raise
        finally:
            self._unchecked.discard(connection)
        return connection

    def abandon(self) -> None:
        """End the sessions that are still being checked, because the store closes."""
        for connection in self._unchecked:
            connection.terminate()

    def usable(self, connection: Connection) -> bool:
        """Whether this idle session may be used: no other server took over since it began, and its
        server, of PostgreSQL 14 or later, did not report that `default_transaction_read_only`
        changed. Without I/O."""
        session = self._sessions[connection]
        return session.epoch == self.epoch and (
            session.read_only is None or session.reported(_READ_ONLY) == session.read_only
        )

    def overdue(self, connection: Connection) -> float:
        """The seconds since a new session should have replaced this one; negative before."""
        return elapsed() - self._sessions[connection].until

    def expire(self, connection: Connection) -> None:
        """Let the session be unusable: another one replaced it."""
        self._sessions[connection].epoch = -1

    def prolong(self, connection: Connection) -> None:
        """Begin the age of the session again: none could replace it."""
        self._sessions[connection].until = _until()

    async def _admit(self, connection: Connection) -> None:
        found, kept, standby, read_only = await self.read(connection)
        # The method, since the attribute takes five times as long.
        reported = connection.get_settings().__getattr__
        if standby or _value(reported, _STANDBY) == "on":
            self._refuse("the database server is a standby, in recovery")
        self._expect(found, kept)
        self._expect(found, self._seen)
        self.kept = kept.joined(self.kept)
        joined = found.joined(kept)
        if joined != kept and not read_only:
            await self._keep(connection, joined)
            # Another session may have found a later one during the write.
            self._expect(found, self._seen)
        changed, before = found.continues(self._seen), self._seen
        self._seen = found.joined(self._seen)
        if changed:
            self.epoch += 1
            logger.warning(
                "another database server took over: timeline %s, before %s; what was read from the "
                "former one is forgotten",
                found.timeline,
                before.timeline,
            )
            self.lost()
        self._admitted = True
        self._sessions[connection] = _Session(
            self.epoch, _until(), _value(reported, _READ_ONLY), reported
        )

    def _expect(self, found: Lineage, known: Lineage) -> None:
        if (refusal := found.refusal(known)) is not None:
            self._refuse(refusal)

    def _refuse(self, reason: str) -> NoReturn:
        if self._admitted:
            # Before, the store was not open, and the error of its opening is the line.
            self._log_once(logging.ERROR, f"refused a connection: {reason}")
        raise StoreUnavailable(reason)

    async def read(self, connection: Connection) -> Reading:
        """Read what the server permits; the rest is unknown, and logged. Raises one of FAILURES,
        or StoreUnavailable without the store's row."""
        try:
            rows = await connection.fetch(self._query)
        except asyncpg.PostgresError as error:
            if _is_passing(error):
                raise
            await self._leave_out(connection)
            rows = await connection.fetch(self._query)
        if not rows:
            # Of a dump without data, a truncated table, or row security.
            raise StoreUnavailable(
                f"the table store in the schema {self._schema} shows no row to this role: restore "
                "it from a backup"
            )
        [(system, segment, standby, read_only, *kept)] = rows
        present = Lineage(system, segment and int(segment[:8], 16))
        return Reading(present, Lineage(*kept), bool(standby), read_only == "on")

    @property
    def _query(self) -> str:
        return in_schema(_READ.format(readings=", ".join(self._readings.values())), self._schema)

    async def _leave_out(self, connection: Connection) -> None:
        """Leave out the readings that this server does not permit, or does not know."""
        reasons = {}
        for name, reading in self._readings.items():
            try:
                await connection.fetch(f"SELECT {reading}")
            except asyncpg.PostgresError as error:
                if _is_passing(error):
                    raise
                reasons[name] = in_one_line(error)
        self._readings |= dict.fromkeys(reasons, "NULL")
        if reasons:
            unread = ", ".join(f"{name} ({reason})" for name, reason in reasons.items())
            self._log_once(
                logging.WARNING,
                f"cannot read {unread}: if another database server takes over, chatcore may not "
                "notice it",
            )

    async def _keep(self, connection: Connection, joined: Lineage) -> None:
        system, timeline = ("NULL::bigint" if it is None else str(it) for it in joined)
        keep = _KEEP.format(system=system, timeline=timeline, ids=IDS_LEFT_OUT)
        try:
            await connection.execute(in_schema(keep, self._schema))
        except asyncpg.PostgresError as error:
            if ends_connection(error):
                raise
            # The store serves all the same, without the memory of other processes.
            await connection.execute("ROLLBACK")
            self._log_once(
                logging.WARNING, f"cannot keep the database's timeline: {in_one_line(error)}"
            )
        else:
            self.kept = joined.joined(self.kept)

    def _log_once(self, level: int, line: str) -> None:
        now = elapsed()
        if now - self._logged.get(line, float("-inf")) >= QUIET_SECONDS:
            self._logged[line] = now
            logger.log(level, line)


def _is_passing(error: asyncpg.PostgresError) -> bool:
    return ends_connection(error) or (error.sqlstate or "")[:2] in _PASSING


def _value(reported: Callable[[str], str], setting: str) -> str | None:
    try:
        return reported(setting)
    except AttributeError:
        return None


def _until() -> float:
    return elapsed() + AGE_SECONDS + random.uniform(0, AGE_SPREAD_SECONDS)  # noqa: S311, no secret
