"""The refused rows of an outbox, for the operator. No chatcore store is needed."""

from collections.abc import Iterable, Sequence
from functools import partial

from sqlalchemy import Engine, Table
from sqlalchemy.ext.asyncio import AsyncEngine

from chatcore.errors import StoreUnavailable
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.outbox.host import in_transaction
from chatcore_sqlalchemy.outbox.table import RefusedRow, Rows


async def expect_table(engine: Engine | AsyncEngine, table: Table) -> None:
    """Raise CannotOpen, with one line for the operator, if the table or a column is missing."""
    try:
        await in_transaction(engine, Rows(table).check)
    except StoreUnavailable as error:
        raise CannotOpen(
            f"cannot read the table {table.fullname}: {error}; docs/outbox.md shows the SQL that "
            "creates it"
        ) from error


async def refused_rows(
    engine: Engine | AsyncEngine, table: Table, *, after: int = 0, limit: int = 500
) -> Sequence[RefusedRow]:
    """Return up to `limit` refused rows by ascending id; only ids above `after`. Raises
    StoreUnavailable."""
    return await in_transaction(engine, partial(Rows(table).refused, after, limit))


async def retry_rows(
    engine: Engine | AsyncEngine, table: Table, ids: Iterable[int] | None = None
) -> int:
    """Let the refused rows with these ids, or all, be sent again. Returns how many there were.

    Later rows of the same chat may have been sent already. Raises StoreUnavailable.
    """
    return await in_transaction(engine, partial(Rows(table).retry, ids))
