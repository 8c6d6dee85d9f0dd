"""A service trims old events periodically, and retries after a failure."""

import asyncio
import logging
from datetime import timedelta

import pytest

from chatcore import Messenger, StoreUnavailable, trimming
from chatcore.names import UserName
from chatcore_memory import MemoryStore


class Faltering(MemoryStore):
    """Fails the first trimming."""

    trimmings = 0

    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        self.trimmings += 1
        if self.trimmings == 1:
            raise StoreUnavailable("the disk is away")
        return await super().trim_logs(keep=keep, since_us=since_us, after_user=after_user)

    async def trimmed_since(self, count: int) -> None:
        """Wait for two more trimmings; the first may have failed."""
        async with asyncio.timeout(60):
            while self.trimmings < count + 2:  # noqa: ASYNC110  no event is set
                await asyncio.sleep(0.001)


async def test_trimming_repeats_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trimming, "FIRST_SECONDS", 0)
    monkeypatch.setattr(trimming, "EVERY_SECONDS", 0.01)
    store = Faltering()
    messenger = Messenger(store)
    ann, bob = [await store.add_user(UserName(name), "", 0) for name in ("ann", "bob")]
    chat = await messenger.open_chat(ann, bob)
    before = await messenger.follow(bob).start()
    tasks = asyncio.all_tasks()
    with caplog.at_level(logging.ERROR, "chatcore"):
        async with trimming.trimming(messenger, 2, timedelta(days=1)):
            for n in (3, 6):
                for _ in range(3):
                    await messenger.send(ann, chat, "hello")
                await store.trimmed_since(store.trimmings)
                kept = before.at(before.n + n - 2)
                assert await store.events_after(kept.at(kept.n - 1), limit=9) is None
                assert len(await store.events_after(kept, limit=9) or ()) == 2
    assert len(caplog.records) == 1
    assert asyncio.all_tasks() == tasks
