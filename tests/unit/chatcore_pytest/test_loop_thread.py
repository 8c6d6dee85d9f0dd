"""A store on another event loop than its callers'."""

from collections.abc import Iterator
from typing import Any

import pytest

from chatcore.testing import ACCOUNT_STORE_CHECKS, CHAT_STORE_CHECKS, ERASURE_CHECKS
from chatcore_memory import MemoryStore
from chatcore_pytest.loop_thread import LoopThread


@pytest.fixture(scope="module")
def thread() -> Iterator[LoopThread]:
    with LoopThread() as thread:
        yield thread


@pytest.mark.parametrize(
    "check",
    [*ACCOUNT_STORE_CHECKS, *CHAT_STORE_CHECKS, *ERASURE_CHECKS],
    ids=lambda check: check.__name__,
)
async def test_store_keeps_its_promises_from_another_loop(thread: LoopThread, check: Any) -> None:
    await check(thread.reachable(MemoryStore()))
