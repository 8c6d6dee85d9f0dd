"""A chat in a file of its own has no part in a host's transaction."""

import pytest

from chatcore import Messenger
from chatcore_sqlalchemy import SqlAlchemyStore


async def test_host_transaction_on_sqlite_names_the_outbox(store: SqlAlchemyStore) -> None:
    for bind in (Messenger(store).within, store.bound):
        with pytest.raises(TypeError, match=r"SQLite.* outbox \(docs/outbox.md\)"):
            bind(None)  # type: ignore[arg-type]
