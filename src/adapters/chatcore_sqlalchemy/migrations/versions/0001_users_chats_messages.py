"""Users, chats and messages."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "users",
        sa.Column("id", int64, primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("canonical", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("registered_us", int64, nullable=False),
        sa.UniqueConstraint("canonical", name="users_canonical"),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_table(
        "chats",
        sa.Column("id", int64, primary_key=True),
        sa.Column("lo_id", int64, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("hi_id", int64, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("last_seq", int64, nullable=False),
        sa.Column("activity", int64, nullable=False),
        sa.Column("opened_us", int64, nullable=False),
        sa.UniqueConstraint("lo_id", "hi_id", name="chats_pair"),
        sa.CheckConstraint("lo_id < hi_id", name="chats_pair_order"),
        sa.CheckConstraint("last_seq >= 0", name="chats_last_seq"),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("chats_lo_activity", "chats", ["lo_id", "activity"])
    op.create_index("chats_hi_activity", "chats", ["hi_id", "activity"])
    op.create_table(
        "messages",
        sa.Column("chat_id", int64, sa.ForeignKey("chats.id"), nullable=False),
        sa.Column("seq", int64, nullable=False),
        sa.Column("sender_id", int64, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sent_us", int64, nullable=False),
        sa.Column("idempotency_key", sa.Text()),
        sa.PrimaryKeyConstraint("chat_id", "seq", name="messages_pk"),
        sa.CheckConstraint("seq >= 1", name="messages_seq"),
        sa.CheckConstraint("length(text) BETWEEN 1 AND 4096", name="messages_text"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    keyed = sa.text("idempotency_key IS NOT NULL")
    op.create_index(
        "messages_key",
        "messages",
        ["chat_id", "sender_id", "idempotency_key"],
        unique=True,
        sqlite_where=keyed,
        postgresql_where=keyed,
    )
