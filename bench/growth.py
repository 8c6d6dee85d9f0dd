"""Whether cost grows with the data: the three hot calls of the store, on a small database and on
a database of a million messages, in interleaved rounds."""

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.data import TEXT
from bench.strain import Finding
from chatcore import NewMessage
from chatcore_sqlalchemy import SqlAlchemyStore

ROUNDS = 7
ALLOWED = 1.3
USERS = 1_000
HUGE = 200_000


def growth(folder: Path) -> Finding:
    return asyncio.run(_growth(folder))


async def _growth(folder: Path) -> Finding:
    small = await _make(folder / "small.db", chats=40, messages=4_000, huge=1_000)
    large = await _make(folder / "large.db", chats=10_000, messages=1_000_000, huge=HUGE)
    calls: dict[str, Callable[[SqlAlchemyStore], Awaitable[object]]] = {
        "send, 64 at once": _send,
        "history of 50": _history,
        "list of 20 chats": _list,
    }
    texts, kept = [], True
    for name, call in calls.items():
        times: dict[SqlAlchemyStore, list[float]] = {small: [], large: []}
        for store in times:
            await call(store)
        for _ in range(ROUNDS):
            for store, taken in times.items():
                began = time.perf_counter()
                for _ in range(20):
                    await call(store)
                taken.append(time.perf_counter() - began)
        ratio = statistics.median(times[large]) / statistics.median(times[small])
        kept = kept and ratio <= ALLOWED
        texts.append(f"{name} {ratio:.2f}")
    await small.close()
    await large.close()
    return Finding(
        "Growth: time per store call with 1,000,000 messages, 10,000 chats and one chat of "
        f"200,000 messages, relative to 4,000 messages in 40 chats: {', '.join(texts)} (medians "
        f"of {ROUNDS} interleaved rounds; promised: at most {ALLOWED}).",
        kept,
    )


async def _send(store: SqlAlchemyStore) -> None:
    # Chats 1 to 20 belong to user 1, and chat 1 is the huge one.
    await asyncio.gather(
        *(store.append_message(NewMessage(1 + n % 20, 1, TEXT, 0)) for n in range(64))
    )


async def _history(store: SqlAlchemyStore) -> None:
    for _ in range(20):
        await store.messages_before(1, None, limit=50)


async def _list(store: SqlAlchemyStore) -> None:
    for _ in range(20):
        await store.chats_of(1, before=None, limit=20)


async def _make(path: Path, *, chats: int, messages: int, huge: int) -> SqlAlchemyStore:
    """Create a database. User 1 has 20 chats; the other users share the rest."""
    await (await SqlAlchemyStore.open(f"sqlite:///{path}")).close()
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO users (id, name, canonical, password_hash, registered_us) "
            "VALUES (?, ?, ?, '', 0)",
            ((n, f"user{n}", f"user{n}") for n in range(1, USERS + 1)),
        )
        pairs = [(1, n) for n in range(2, 22)]
        # Each pair once: partners at growing distances among users 22 to 1,000.
        pairs += [
            (lo, lo + distance) for distance in range(1, 40) for lo in range(22, USERS - distance)
        ][: chats - len(pairs)]
        each = (messages - huge) // (chats - 1)
        connection.executemany(
            "INSERT INTO chats (id, lo_id, hi_id, last_seq, lo_sent, activity, opened_us)"
            " VALUES (?1, ?2, ?3, ?4, ?4, ?5, 0)",
            ((n, lo, hi, huge if n == 1 else each, n) for n, (lo, hi) in enumerate(pairs, 1)),
        )
        connection.executemany(
            "INSERT INTO messages (chat_id, seq, sender_id, text, sent_us, lo_sent)"
            " VALUES (?1, ?2, ?3, ?4, 0, ?2)",
            (
                (n, seq, lo, TEXT)
                for n, (lo, _) in enumerate(pairs, 1)
                for seq in range(1, (huge if n == 1 else each) + 1)
            ),
        )
    connection.close()
    return await SqlAlchemyStore.open(f"sqlite:///{path}")
