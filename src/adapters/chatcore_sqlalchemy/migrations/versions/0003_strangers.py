"""Void tokens, erased users, and blocks; on PostgreSQL, messages without foreign keys.

The read marker that a peer sees begins equal to the marker itself.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    int16 = sa.SmallInteger().with_variant(sa.Integer(), "sqlite")
    zero = sa.text("0")
    op.add_column("users", sa.Column("tokens_from_us", int64, nullable=False, server_default=zero))
    op.add_column("users", sa.Column("erased_us", int64))
    op.create_table(
        "retired_names",
        sa.Column("digest", sa.Text(), primary_key=True),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blocks",
        sa.Column("user_id", int64, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("peer_id", int64, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("blocked_us", int64, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "peer_id", name="blocks_pk"),
        sa.CheckConstraint("user_id <> peer_id", name="blocks_pair"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("blocks_peer", "blocks", ["peer_id"])
    for name in ("lo_told", "hi_told"):
        op.add_column("chats", sa.Column(name, int64, nullable=False, server_default=zero))
    op.add_column("chats", sa.Column("closed", int16, nullable=False, server_default=zero))
    op.execute("UPDATE chats SET lo_told = lo_read, hi_told = hi_read")
    if op.get_context().dialect.name == "postgresql":
        # They cost more than the insert of the message.
        for column in ("chat_id", "sender_id"):
            op.drop_constraint(f"messages_{column}_fkey", "messages", type_="foreignkey")
