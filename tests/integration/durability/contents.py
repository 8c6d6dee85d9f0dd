"""Checks a database file, read without the store."""

import contextlib
import itertools
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from tests.integration.durability.logs import find_wrong_logs
from tests.support.checker import Send, Stored, find_faults


def find_wrong(path: Path, sends: Iterable[Send]) -> list[object]:
    """All faults of the file, found by SQLite and by the checker. Chats are named by their ids,
    senders by their names."""
    with _reading(path) as connection:
        wrong: list[object] = [
            row
            for row in itertools.chain(
                connection.execute("PRAGMA integrity_check").fetchall(),
                connection.execute("PRAGMA foreign_key_check").fetchall(),
            )
            if row != ("ok",)
        ]
        stored = _messages(connection)
        for chat_id, last_seq in connection.execute("SELECT id, last_seq FROM chats"):
            if last_seq != len(stored.get(chat_id, ())):
                wrong.append(f"chat {chat_id} claims to have {last_seq} messages")
        wrong += find_wrong_logs(connection)
    return [*wrong, *find_faults(sends, stored)]


def read_histories(path: Path) -> dict[int, list[tuple[str, str]]]:
    """The senders and texts of every chat."""
    with _reading(path) as connection:
        return {
            chat_id: [(sender, text) for _, sender, text in messages]
            for chat_id, messages in _messages(connection).items()
        }


def _reading(path: Path) -> "contextlib.closing[sqlite3.Connection]":
    return contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True))


def _messages(connection: sqlite3.Connection) -> dict[int, list[Stored]]:
    found: dict[int, list[Stored]] = {}
    for chat_id, *message in connection.execute(
        "SELECT chat_id, seq, name, text FROM messages LEFT JOIN users ON users.id = sender_id "
        "ORDER BY chat_id, seq"
    ):
        found.setdefault(chat_id, []).append(Stored(*message))
    return found
