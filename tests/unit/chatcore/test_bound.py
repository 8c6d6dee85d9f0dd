"""Stores that cannot write within a transaction of the host."""

import pytest

from chatcore import Messenger
from chatcore.ports import HostTransactions
from chatcore_memory import MemoryStore


def test_store_without_host_transactions_names_the_outbox() -> None:
    store = MemoryStore()
    assert not isinstance(store, HostTransactions)
    with pytest.raises(TypeError, match=r"MemoryStore .* outbox \(docs/outbox.md\)"):
        Messenger(store).within(object())
