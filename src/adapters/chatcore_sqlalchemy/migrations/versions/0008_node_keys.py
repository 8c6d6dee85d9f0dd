"""Which keys the running nodes sign with, as digests."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "node_keys",
        sa.Column("node_id", sa.Text(), primary_key=True),
        sa.Column("digests", sa.Text(), nullable=False),
        sa.Column("seen_us", int64, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("node_keys_seen", "node_keys", ["seen_us"])
