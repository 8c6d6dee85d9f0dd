"""Accounts apart from users: a user of a host has none.

The former columns stay in `users`, since SQLite cannot drop them without copying the table; they
are emptied, so that no password hash stays behind when its account is erased.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    # On PostgreSQL the foreign key locks `users` against writes until the end, so that no password
    # changes between the copy and the UPDATE.
    op.create_table(
        "accounts",
        sa.Column(
            "user_id", int64, sa.ForeignKey("users.id"), primary_key=True, autoincrement=False
        ),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("tokens_from_us", int64, nullable=False, server_default=sa.text("0")),
        sqlite_strict=True,
    )
    op.execute(
        """
        INSERT INTO accounts (user_id, password_hash, tokens_from_us)
        SELECT id, password_hash, tokens_from_us FROM users WHERE erased_us IS NULL
        """
    )
    op.execute("UPDATE users SET password_hash = '', tokens_from_us = 0")
