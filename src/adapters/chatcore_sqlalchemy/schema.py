"""The tables, with constraints for every invariant that the database can enforce."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from chatcore.events import KINDS, ChatOpened, MarkerMoved, MessageSent

DEFAULT_SCHEMA = "chatcore"
"""The schema of a PostgreSQL database that holds the tables, unless another is named."""

metadata = MetaData(schema=DEFAULT_SCHEMA)
"""The tables, in the schema `chatcore` of PostgreSQL. For another schema, they are compiled with a
`schema_translate_map`."""

IN_FILE = {DEFAULT_SCHEMA: "main"}
"""The `schema_translate_map` for a SQLite file, which calls its only schema so."""

# SQLite's STRICT tables refuse the name BIGINT; their INTEGER always has 64 bits.
Int64 = BigInteger().with_variant(Integer, "sqlite")
Int16 = SmallInteger().with_variant(Integer, "sqlite")

_ZERO = text("0")

OF_SERVER = {"of_server": True}
"""The `info` of a column that describes the server, so that `copy` leaves it out."""

OPENED, SENT, LO_READ = KINDS[ChatOpened], KINDS[MessageSent], KINDS[MarkerMoved]
HI_READ = LO_READ + 1
"""Kinds of events. A read marker has two: of the user with the lower id, or with the higher."""

# People, with accounts or without: all other tables refer to them.
users = Table(
    "users",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("name", Text, nullable=False),
    # The user's key: the canonical name of an account; for a host's user realm, U+001F and handle.
    Column("canonical", Text, nullable=False),
    # Empty since revision 0004, which moved it to `accounts`.
    Column("password_hash", Text, nullable=False),
    Column("registered_us", Int64, nullable=False),
    # 0 since revision 0004, which moved it to `accounts`.
    Column("tokens_from_us", Int64, nullable=False, server_default=_ZERO),
    # When the user was erased; since then name and canonical are those of the tombstone.
    Column("erased_us", Int64),
    UniqueConstraint("canonical", name="users_canonical"),
    sqlite_strict=True,
    # Otherwise SQLite reuses the id of a deleted last row, and old tokens would be valid for the
    # next user.
    sqlite_autoincrement=True,
)

# Of each user with an account. Users of a host and erased ones have none.
accounts = Table(
    "accounts",
    metadata,
    Column("user_id", Int64, ForeignKey("users.id"), primary_key=True, autoincrement=False),
    Column("password_hash", Text, nullable=False),
    # Tokens issued before this time are void.
    Column("tokens_from_us", Int64, nullable=False, server_default=_ZERO),
    sqlite_strict=True,
)

# Where users with accounts are signed in. The row of a session that ends is deleted, that of an
# expired one at the next sign-in of its user.
sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    # Of the account, so that adding a session locks nothing but it.
    Column("user_id", Int64, ForeignKey("accounts.user_id"), nullable=False),
    # The name of the device.
    Column("device", Text, nullable=False),
    # Digests of the present refresh token and of the one before; the salt that leads from the
    # former to the present one.
    Column("digest", LargeBinary, nullable=False),
    Column("former", LargeBinary),
    Column("salt", LargeBinary),
    Column("created_us", Int64, nullable=False),
    Column("used_us", Int64, nullable=False),
    Column("expires_us", Int64, nullable=False),
    # No renewal moves `expires_us` beyond it.
    Column("ends_us", Int64, nullable=False),
    Index("sessions_of_user", "user_id"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# The keys of erased users, as SHA-256 in hexadecimal: they are never given again.
retired_names = Table(
    "retired_names",
    metadata,
    Column("digest", Text, primary_key=True),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

blocks = Table(
    "blocks",
    metadata,
    Column("user_id", Int64, ForeignKey("users.id"), nullable=False),
    # The user whom `user_id` blocks.
    Column("peer_id", Int64, ForeignKey("users.id"), nullable=False),
    Column("blocked_us", Int64, nullable=False),
    PrimaryKeyConstraint("user_id", "peer_id", name="blocks_pk"),
    CheckConstraint("user_id <> peer_id", name="blocks_pair"),
    # An erasure finds the blocks of the erased user by it.
    Index("blocks_peer", "peer_id"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

LO_BLOCKS, HI_BLOCKS, ERASED = 1, 2, 4
"""Why a chat is closed: bits of `chats.closed`."""

chats = Table(
    "chats",
    metadata,
    Column("id", Int64, primary_key=True),
    Column("lo_id", Int64, ForeignKey("users.id"), nullable=False),
    Column("hi_id", Int64, ForeignKey("users.id"), nullable=False),
    Column("last_seq", Int64, nullable=False),
    Column("activity", Int64, nullable=False),
    Column("opened_us", Int64, nullable=False),
    # How many of its messages the user with the lower id sent. Unread counts are subtractions.
    Column("lo_sent", Int64, nullable=False, server_default=_ZERO),
    # Each user's read marker, and how many messages of the peer are up to it.
    Column("lo_read", Int64, nullable=False, server_default=_ZERO),
    Column("lo_seen", Int64, nullable=False, server_default=_ZERO),
    Column("hi_read", Int64, nullable=False, server_default=_ZERO),
    Column("hi_seen", Int64, nullable=False, server_default=_ZERO),
    # Each user's read marker as the peer sees it.
    Column("lo_told", Int64, nullable=False, server_default=_ZERO),
    Column("hi_told", Int64, nullable=False, server_default=_ZERO),
    # Why nothing can be sent, by the bits above; 0 for an open chat. Repeats what `blocks` and
    # `users` say of the pair, so that a send need not read them.
    Column("closed", Int16, nullable=False, server_default=_ZERO),
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
    Column("chat_id", Int64, nullable=False),
    Column("seq", Int64, nullable=False),
    Column("sender_id", Int64, nullable=False),
    Column("text", Text, nullable=False),
    Column("sent_us", Int64, nullable=False),
    Column("idempotency_key", Text),
    # How many of the chat's messages, up to this one, the user with the lower id sent.
    Column("lo_sent", Int64, nullable=False, server_default=_ZERO),
    # `NewMessage.digest` under `store.digest_secret`. NULL without a key, and for messages from
    # before the column, which are compared by their text.
    Column("digest", LargeBinary),
    PrimaryKeyConstraint("chat_id", "seq", name="messages_pk"),
    CheckConstraint("seq >= 1", name="messages_seq"),
    CheckConstraint("length(text) BETWEEN 1 AND 4096", name="messages_text"),
    # Not on PostgreSQL: it would lock both rows for each message, which costs more than the
    # insert. Each append has just locked the chat, and checked that the sender is in it.
    ForeignKeyConstraint(["chat_id"], ["chats.id"]).ddl_if(dialect="sqlite"),
    ForeignKeyConstraint(["sender_id"], ["users.id"]).ddl_if(dialect="sqlite"),
    sqlite_strict=True,
    # The table is ordered by its primary key, so a page of history is one range of rows.
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

# Two rows for each message, so they are narrow and hold references only. No foreign keys: their
# lookups would cost more than the insert, and each transaction that inserts an event has just read
# or written the rows it refers to.
events = Table(
    "events",
    metadata,
    Column("user_id", Int64, nullable=False),
    # The next number is one more than the newest, so the newest entry always stays.
    Column("n", Int64, nullable=False),
    Column("kind", Int16, nullable=False),
    Column("chat_id", Int64, nullable=False),
    Column("seq", Int64, nullable=False),
    Column("at_us", Int64, nullable=False),
    PrimaryKeyConstraint("user_id", "n", name="events_pk"),
    CheckConstraint("n >= 1", name="events_n"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

store = Table(
    "store",
    metadata,
    Column("id", Int64, primary_key=True, autoincrement=False),
    # The random name of this store's event logs.
    Column("log", Text, nullable=False),
    # 32 random bytes. Never changes, or replays would be taken for reused keys. Never NULL: only
    # the migration needs to add the column before the bytes.
    Column("digest_secret", LargeBinary),
    # The PostgreSQL server's system identifier, and its highest timeline so far. NULL in a SQLite
    # file, before the first use and where they cannot be read.
    Column("system_id", Int64, info=OF_SERVER),
    Column("timeline", Int64, info=OF_SERVER),
    CheckConstraint("id = 1", name="store_one_row"),
    sqlite_strict=True,
)

# Of each running node of the service on PostgreSQL, so that no node starts with another secret. It
# is about processes, not data: copies leave it out.
node_keys = Table(
    "node_keys",
    metadata,
    # Random, of one process.
    Column("node_id", Text, primary_key=True),
    # Of the keys that the node accepts, in hexadecimal, separated by spaces.
    Column("digests", Text, nullable=False),
    # When the node was last seen, by the clock of the database.
    Column("seen_us", Int64, nullable=False),
    Index("node_keys_seen", "seen_us"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

TABLES = tuple(table.name for table in metadata.sorted_tables)
"""The names of the tables, those that others refer to first."""

COPIED = tuple(table for table in metadata.sorted_tables if table is not node_keys)
"""The tables that hold the data of the store, those that others refer to first."""
