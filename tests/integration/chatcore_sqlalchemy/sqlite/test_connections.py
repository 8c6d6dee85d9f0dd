"""The connections to the file: one that writes, all with durable settings."""

import functools
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from chatcore import UserName
from chatcore.testing.scene import ann_and_bob, read_all, send
from chatcore_sqlalchemy import SqlAlchemyStore

PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


class Observed(sqlite3.Connection):
    """Records the settings of the connection and the statements that ran on it."""

    everyone: list["Observed"]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.statements: list[str] = []
        self.set_trace_callback(self.statements.append)
        self.settings: dict[str, object] = {}
        self.everyone.append(self)

    def writes(self) -> bool:
        return any(it.startswith(("INSERT", "UPDATE", "CREATE")) for it in self.statements)

    def close(self) -> None:
        for name in PRAGMAS:
            [self.settings[name]] = self.execute(f"PRAGMA {name}").fetchone()
        super().close()


async def test_one_connection_writes_and_all_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Observed.everyone = []
    connect = functools.partial(sqlite3.connect, factory=Observed)
    url = f"sqlite:///{tmp_path}/chatcore.db"
    await (await SqlAlchemyStore.open(url)).close()
    monkeypatch.setattr(sqlite3, "connect", connect)
    async with await SqlAlchemyStore.open(url) as store:
        chat, ann, _ = await ann_and_bob(store)
        await send(store, chat, ann, "hello")
        await store.add_user(UserName("eve"), "hash", 0)
        assert await read_all(store, chat)
    assert [it.settings for it in Observed.everyone] == [PRAGMAS] * len(Observed.everyone)
    [writer] = [it for it in Observed.everyone if it.writes()]
    # Never deferred: a transaction that starts as a reader cannot wait for the write lock.
    begun = [it for it in writer.statements if it.startswith("BEGIN")]
    assert begun == ["BEGIN IMMEDIATE"] * writer.statements.count("COMMIT")
    assert len(begun) >= 5
