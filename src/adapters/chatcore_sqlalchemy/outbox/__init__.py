"""An outbox: messages that a host writes in its own transactions, and chatcore sends.

A row becomes visible with the host's commit and vanishes with its rollback. A drain sends each
committed row under the row's own idempotency key and then deletes it. A crash in between repeats a
send that the store recognises, so the message is stored exactly once.

Order: of two rows of one chat, the one that was committed before the other was inserted is sent
first. Rows of transactions that overlap are sent in either order.
"""

from chatcore_sqlalchemy.outbox.drain import Drained, Outbox, Resolve
from chatcore_sqlalchemy.outbox.host import OpenTable, open_table
from chatcore_sqlalchemy.outbox.refused import expect_table, refused_rows, retry_rows
from chatcore_sqlalchemy.outbox.table import RefusedRow, outbox_table

__all__ = [
    "Drained",
    "OpenTable",
    "Outbox",
    "RefusedRow",
    "Resolve",
    "expect_table",
    "open_table",
    "outbox_table",
    "refused_rows",
    "retry_rows",
]
