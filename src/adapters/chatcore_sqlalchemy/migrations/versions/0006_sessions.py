"""Sessions of devices."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("user_id", int64, sa.ForeignKey("accounts.user_id"), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("former", sa.LargeBinary()),
        sa.Column("salt", sa.LargeBinary()),
        sa.Column("created_us", int64, nullable=False),
        sa.Column("used_us", int64, nullable=False),
        sa.Column("expires_us", int64, nullable=False),
        sa.Column("ends_us", int64, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("sessions_of_user", "sessions", ["user_id"])
