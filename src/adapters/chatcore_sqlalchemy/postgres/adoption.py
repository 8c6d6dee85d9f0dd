"""Accepts the present server as the store's, whatever its history."""

import secrets
from collections.abc import Callable

from chatcore_sqlalchemy.engines import Adoption
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.connection import FAILURES, Source
from chatcore_sqlalchemy.postgres.history import History
from chatcore_sqlalchemy.postgres.schema import check
from chatcore_sqlalchemy.postgres.statement import in_schema, quoted
from chatcore_sqlalchemy.tools.backup import IDS_APART

_RAISE_IDS = """
SELECT setval(pg_get_serial_sequence($1, 'id'), nextval(pg_get_serial_sequence($1, 'id')) + $2)
"""
_ADOPT = "UPDATE {schema}.store SET system_id = $1, timeline = $2, log = $3 WHERE id = 1"


async def adopt(
    source: Source, schema: str | None, confirm: Callable[[Adoption], bool]
) -> Adoption | None:
    """Accept the server that the source leads to, if `confirm` returns True; else return None and
    change nothing. Event logs get another name, which makes all cursors void; the next ids are
    IDS_APART higher, so that no token from a lost time names a later user. Raises CannotOpen."""
    place, _ = await check(source, schema)
    try:
        connection = await source.connect()
        try:
            found = await History(source, place).read(connection)
            if found.standby:
                raise CannotOpen("the database server is a standby, in recovery: promote it first")
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
