"""The table of an outbox, and the statements on it."""

import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Unicode,
    UnicodeText,
    and_,
    bindparam,
    false,
    func,
    select,
    text,
)

from chatcore.model import MAX_KEY

MAX_ADDRESS = 255
"""The most characters of the text that names a sender or a peer."""

IDS_IN_A_STATEMENT = 500


def random_key() -> str:
    return secrets.token_hex(16)


def outbox_table(metadata: MetaData, name: str = "chat_outbox", schema: str | None = None) -> Table:
    """Declare the outbox in the host's metadata, and return its table.

    A host inserts `sender`, `peer` and `text`, and leaves the other columns out.
    """
    return Table(
        name,
        metadata,
        # SQLite numbers rows by itself only in a column of the type INTEGER.
        Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
        # The two users, as the host addresses them.
        Column("sender", Unicode(MAX_ADDRESS), nullable=False),
        Column("peer", Unicode(MAX_ADDRESS), nullable=False),
        Column("text", UnicodeText, nullable=False),
        # Random, so that no two rows of any outbox share it. A drain gives one to rows without.
        Column("key", Unicode(MAX_KEY), default=random_key),
        Column(
            "created_at",
            DateTime(timezone=True),
            nullable=False,
            server_default=text("CURRENT_TIMESTAMP"),
        ),
        # Set when chatcore refuses the row, which is then passed over until a retry.
        Column("refused_code", Unicode(64)),
        Column("refused_at", DateTime(timezone=True)),
        Column("refusals", Integer, nullable=False, server_default=text("0")),
        # Finds the waiting rows among any number of refused ones.
        Index(f"{name}_waiting", "refused_code", "id"),
        schema=schema,
        # The number of a deleted row is not given again.
        sqlite_autoincrement=True,
    )


class RefusedRow(NamedTuple):
    """A row that chatcore refused."""

    id: int
    sender: str
    peer: str
    code: str
    """The `code` of the error, such as "user_not_found"."""
    refused_at: datetime
    """The last time, as an aware datetime in UTC."""
    refusals: int
    """How many times the row was refused."""


class WaitingRow(NamedTuple):
    """A row to send. SQLite may give values of any type for the texts."""

    id: int
    sender: str
    peer: str
    text: str
    key: str | None


class Settled(NamedTuple):
    """What became of a row; `code` is empty for a row that was sent."""

    row: WaitingRow
    code: str


class Rows:
    """The statements on one table. Each method is for a transaction of its own."""

    def __init__(self, table: Table) -> None:
        self.table = table
        columns = table.c
        self._waiting = columns.refused_code.is_(None)
        # The key as well: a table that was emptied and numbered from 1 again has other rows.
        the_row = and_(columns.id == bindparam("row_id"), columns.key == bindparam("row_key"))
        self._delete = table.delete().where(the_row)
        self._refuse = (
            table.update()
            .where(the_row)
            .values(
                refused_code=bindparam("code"),
                refused_at=bindparam("moment"),
                refusals=columns.refusals + 1,
            )
        )
        self._give_key = (
            table.update()
            .where(columns.id == bindparam("row_id"), columns.key.is_(None))
            .values(key=bindparam("new_key"))
        )

    def check(self, connection: Connection) -> None:
        """Fail if the table or one of its columns is missing."""
        connection.execute(self.table.select().where(false()))

    def bounds(self, connection: Connection) -> tuple[int | None, int]:
        """The smallest and the largest id of the waiting rows; None and 0 without any."""
        query = select(func.min(self.table.c.id), func.max(self.table.c.id)).where(self._waiting)
        first, last = connection.execute(query).one()
        return first, last or 0

    def count(self, last: int, connection: Connection) -> int:
        """How many rows with ids up to `last` wait."""
        query = select(func.count()).where(self._waiting, self.table.c.id <= last)
        return connection.scalar(query) or 0

    def page(
        self, first: int, last: int, limit: int, connection: Connection
    ) -> Sequence[WaitingRow]:
        """Up to `limit` waiting rows with ids from `first` to `last`, by ascending id."""
        columns = self.table.c
        query = (
            select(columns.id, columns.sender, columns.peer, columns.text, columns.key)
            .where(self._waiting, columns.id.between(first, last))
            .order_by(columns.id)
            .limit(limit)
        )
        return [WaitingRow(*row) for row in connection.execute(query)]

    def give_keys(self, ids: Sequence[int], connection: Connection) -> None:
        """Give each of these rows a key, unless another drain was first."""
        keys = [{"row_id": row_id, "new_key": random_key()} for row_id in ids]
        connection.execute(self._give_key, keys)

    def settle(self, settled: Sequence[Settled], moment: datetime, connection: Connection) -> None:
        """Delete the rows that were sent, and mark those that were refused."""
        # Sorted, so that two drains do not wait for each other's locks.
        rows = sorted(settled, key=lambda each: (each.code, each.row.id))
        for code, group in groupby(rows, lambda each: each.code):
            values = [{"row_id": each.row.id, "row_key": each.row.key} for each in group]
            if not code:
                connection.execute(self._delete, values)
            else:
                mark = {"code": code, "moment": moment}
                connection.execute(self._refuse, [each | mark for each in values])

    def refused(self, after: int, limit: int, connection: Connection) -> Sequence[RefusedRow]:
        columns = self.table.c
        query = (
            select(
                columns.id,
                columns.sender,
                columns.peer,
                columns.refused_code,
                columns.refused_at,
                columns.refusals,
            )
            .where(columns.refused_code.is_not(None), columns.id > after)
            .order_by(columns.id)
            .limit(limit)
        )
        return [
            RefusedRow(*row[:4], _in_utc(row.refused_at), row.refusals)
            for row in connection.execute(query)
        ]

    def retry(self, ids: Iterable[int] | None, connection: Connection) -> int:
        """Unmark the refused rows with these ids, or all. Returns how many there were."""
        columns = self.table.c
        unmark = self.table.update().values(refused_code=None, refused_at=None)
        unmark = unmark.where(columns.refused_code.is_not(None))
        if ids is None:
            return connection.execute(unmark).rowcount
        count = 0
        left = iter(sorted(set(ids)))
        while some := [*islice(left, IDS_IN_A_STATEMENT)]:
            count += connection.execute(unmark.where(columns.id.in_(some))).rowcount
        return count


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
