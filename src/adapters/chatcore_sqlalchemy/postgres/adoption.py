"""Accepts the present server as the store's, with any history."""

import secrets
from collections.abc import Callable

from sqlalchemy import Connection

from chatcore.errors import StoreUnavailable
from chatcore_sqlalchemy.engines import Adoption
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.connection import FAILURES, Source
from chatcore_sqlalchemy.postgres.history import History
from chatcore_sqlalchemy.postgres.schema import check_here, expect_to_change, transaction
from chatcore_sqlalchemy.postgres.statement import in_schema, quoted
from chatcore_sqlalchemy.queries.nodes import REMEMBERED_US
from chatcore_sqlalchemy.tools.backup import IDS_APART

_LAST_SEEN = """
WITH seen AS (
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - seen_us AS ago_us
    FROM {schema}.node_keys
)
SELECT min(ago_us) / 1000000 FROM seen WHERE abs(ago_us) <= $1
"""
_RAISE_IDS = """
SELECT setval(pg_get_serial_sequence($1, 'id'), nextval(pg_get_serial_sequence($1, 'id')) + $2)
"""
_ADOPT = "UPDATE {schema}.store SET system_id = $1, timeline = $2, log = $3 WHERE id = 1"


async def adopt(
    source: Source, schema: str | None, confirm: Callable[[Adoption], bool]
) -> Adoption | None:
    """Accept the server that the source leads to, if `confirm` returns True; else return None and
    change nothing. Event logs get another name, which makes all cursors void; the next ids are
    IDS_APART higher, so that no token from a lost time names a later user.

    Raises CannotOpen, also for a role that does not own the tables, and while a service runs: it
    would keep the former name, and ring where the others do not listen."""
    async with transaction(source, limited=True) as checked:
        place = await checked.run_sync(_place, schema)
    try:
        connection = await source.connect()
        try:
            found = await History(source, place).read(connection)
            [(seconds,)] = await connection.fetch(in_schema(_LAST_SEEN, place), REMEMBERED_US)
            if seconds is not None:
                raise CannotOpen(
                    f"a service of this database was running {max(0, seconds)} seconds ago: stop "
                    "all services first; one that crashed counts for 3 minutes"
                )
            [(database,)] = await connection.fetch("SELECT current_database()")
            adoption = Adoption(database, str(found.kept), str(found.present))
            if not confirm(adoption):
                return None
            for table in ("users", "chats"):
                await connection.fetch(_RAISE_IDS, f"{quoted(place)}.{table}", IDS_APART)
            name = secrets.token_hex(8)
            await connection.fetch(in_schema(_ADOPT, place), *found.present, name)
            return adoption
        finally:
            connection.terminate()
    except FAILURES as error:
        raise source.cannot_open(error) from error
    except StoreUnavailable as error:
        raise CannotOpen(f"cannot open the database: {error}") from error


def _place(connection: Connection, schema: str | None) -> str:
    place, _ = check_here(connection, schema)
    expect_to_change(connection, place)
    return place
