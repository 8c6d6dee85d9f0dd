"""The history of the PostgreSQL server: its system identifier and its highest timeline."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("store", sa.Column("system_id", int64))
    op.add_column("store", sa.Column("timeline", int64))
