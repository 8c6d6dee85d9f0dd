"""The tables. What they promise, the database itself enforces."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# SQLite's STRICT tables know INTEGER, always of 64 bits, and refuse the name BIGINT.
Int64 = BigInteger().with_variant(Integer, "sqlite")

users = Table(
    "users",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("name", Text, nullable=False),
    Column("canonical", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("registered_us", Int64, nullable=False),
    UniqueConstraint("canonical", name="users_canonical"),
    sqlite_strict=True,
    # Without it SQLite gives the id of a deleted last row to the next user, and with it
    # whatever tokens are still out there.
    sqlite_autoincrement=True,
)

chats = Table(
    "chats",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("lo_id", Int64, ForeignKey("users.id"), nullable=False),
    Column("hi_id", Int64, ForeignKey("users.id"), nullable=False),
    Column("last_seq", Int64, nullable=False),
    Column("activity", Int64, nullable=False),
    Column("opened_us", Int64, nullable=False),
    UniqueConstraint("lo_id", "hi_id", name="chats_pair"),
    CheckConstraint("lo_id < hi_id", name="chats_pair_order"),
    CheckConstraint("last_seq >= 0", name="chats_last_seq"),
    # A user's chats by activity are two ordered scans, one per side of the pair.
    Index("chats_lo_activity", "lo_id", "activity"),
    Index("chats_hi_activity", "hi_id", "activity"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)

messages = Table(
    "messages",
    metadata,
    Column("chat_id", Int64, ForeignKey("chats.id"), nullable=False),
    Column("seq", Int64, nullable=False),
    Column("sender_id", Int64, ForeignKey("users.id"), nullable=False),
    Column("text", Text, nullable=False),
    Column("sent_us", Int64, nullable=False),
    Column("idempotency_key", Text),
    PrimaryKeyConstraint("chat_id", "seq", name="messages_pk"),
    CheckConstraint("seq >= 1", name="messages_seq"),
    CheckConstraint("length(text) BETWEEN 1 AND 4096", name="messages_text"),
    sqlite_strict=True,
    # The primary key is the table: a page of history is one stretch of neighbouring rows.
    sqlite_with_rowid=False,
)

_keyed = messages.c.idempotency_key.is_not(None)
Index(
    "messages_key",
    messages.c.chat_id,
    messages.c.sender_id,
    messages.c.idempotency_key,
    unique=True,
    sqlite_where=_keyed,
    postgresql_where=_keyed,
)
