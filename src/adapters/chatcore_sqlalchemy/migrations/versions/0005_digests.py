"""Digests of requests, by which replays are compared."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("messages", sa.Column("digest", sa.LargeBinary()))
    op.add_column("store", sa.Column("digest_secret", sa.LargeBinary()))
    store = sa.table("store", sa.column("digest_secret", sa.LargeBinary()))
    op.execute(store.update().values(digest_secret=secrets.token_bytes(32)))
