"""Event logs, read markers, and the counts for unread messages.

Event logs begin empty, and read markers before the first message.
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    int16 = sa.SmallInteger().with_variant(sa.Integer(), "sqlite")
    zero = sa.text("0")
    for name in ("lo_sent", "lo_read", "lo_seen", "hi_read", "hi_seen"):
        op.add_column("chats", sa.Column(name, int64, nullable=False, server_default=zero))
    op.add_column("messages", sa.Column("lo_sent", int64, nullable=False, server_default=zero))
    op.execute(
        """
        UPDATE messages SET lo_sent = counted.lo_sent
        FROM (
            SELECT m.chat_id, m.seq, sum(CASE WHEN m.sender_id = c.lo_id THEN 1 ELSE 0 END)
                OVER (PARTITION BY m.chat_id ORDER BY m.seq) AS lo_sent
            FROM messages AS m JOIN chats AS c ON c.id = m.chat_id
        ) AS counted
        WHERE messages.chat_id = counted.chat_id AND messages.seq = counted.seq
        """
    )
    op.execute(
        """
        UPDATE chats SET lo_sent = messages.lo_sent FROM messages
        WHERE messages.chat_id = chats.id AND messages.seq = chats.last_seq
        """
    )
    op.create_table(
        "events",
        sa.Column("user_id", int64, nullable=False),
        sa.Column("n", int64, nullable=False),
        sa.Column("kind", int16, nullable=False),
        sa.Column("chat_id", int64, nullable=False),
        sa.Column("seq", int64, nullable=False),
        sa.Column("at_us", int64, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "n", name="events_pk"),
        sa.CheckConstraint("n >= 1", name="events_n"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    store = op.create_table(
        "store",
        sa.Column("id", int64, primary_key=True, autoincrement=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name="store_one_row"),
        sqlite_strict=True,
    )
    op.bulk_insert(store, [{"id": 1, "log": secrets.token_hex(8)}])
