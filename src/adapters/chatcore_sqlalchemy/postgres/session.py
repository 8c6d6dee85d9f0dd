"""The settings of chatcore's sessions on a PostgreSQL server, and the SQL that sets them.

They are set after connecting: a pooler such as PgBouncer refuses most of them as start-up
parameters.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg

APPLICATION_NAME = "chatcore"

STATEMENT_SECONDS = 5
LOCK_SECONDS = 3
IDLE_IN_TRANSACTION_SECONDS = 5
"""Limits that the server itself enforces. The last one frees the locks of a process that froze,
or whose machine failed."""

_ISOLATION = "default_transaction_isolation"

SESSION = {
    # First: it ends the shorter limit that the role or the database may have.
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS}s",
    # Not the server's default: a statement after a wait for locks must see what the holders of
    # those locks wrote.
    _ISOLATION: "read committed",
    # Every statement finds its few rows by an index for any values, so one plan serves all;
    # and that plan must not scan, even if the tables were small when it was made.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""The settings of the store's sessions."""

_NO_LIMITS = dict.fromkeys(
    ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"), "0"
)
_NO_LIMITS_SINCE_17 = {**_NO_LIMITS, "transaction_timeout": "0"}

# An acknowledged write must survive a crash. The other settings below `on` concern replicas.
DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', {local}) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)
"""Lets commits wait for the disk: in the session, or in the transaction if `local` is true."""

_ATTEMPTS = 20

T = TypeVar("T")


def split(in_url: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The settings of a URL that are sent at the start, and those that are set like chatcore's."""
    own = SESSION.keys() | _NO_LIMITS_SINCE_17.keys()
    at_start = {name: value for name, value in in_url.items() if name.lower() not in own}
    return at_start, {name.lower(): in_url[name] for name in in_url.keys() - at_start.keys()}


def settings_for(*, limited: bool, given: Mapping[str, str], version: int) -> dict[str, str]:
    """The settings of a session on a server of this major version: the store's, or those without
    time limits. `given` takes precedence."""
    if limited:
        return {**SESSION, **given}
    return {**(_NO_LIMITS if version < 17 else _NO_LIMITS_SINCE_17), **given}


async def set_up(session: Any, settings: Mapping[str, str], *, seconds: float) -> None:
    """Set the settings, and let commits wait for the disk, in one round trip of at most this time.
    Ends the connection when it fails."""
    sql = "; ".join([*_assignments("SET", settings), DURABLE.format(local=False)])
    try:
        await persistently(lambda: session.execute(sql, timeout=seconds))
    except BaseException:
        session.terminate()
        raise


async def persistently(call: Callable[[], Awaitable[T]]) -> T:
    """Do what must succeed before `set_up` has overridden a shorter `statement_timeout` of the
    role or the database."""
    for _ in range(_ATTEMPTS):
        with suppress(asyncpg.QueryCanceledError):
            return await call()
    return await call()


def begin_with(settings: Mapping[str, str]) -> str:
    """SQL that begins a transaction with these settings, which end with it."""
    local = {name: value for name, value in settings.items() if name != _ISOLATION}
    isolation = settings.get(_ISOLATION)
    begin = f"BEGIN ISOLATION LEVEL {isolation}" if isolation else "BEGIN"
    return "; ".join([begin, *_assignments("SET LOCAL", local)])


def _assignments(verb: str, settings: Mapping[str, str]) -> list[str]:
    return [
        "{} {} = '{}'".format(verb, name, value.replace("'", "''"))
        for name, value in settings.items()
    ]
