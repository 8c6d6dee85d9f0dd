"""Texts and numbers are stored and read back exactly."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chatcore import NewMessage
from chatcore.testing.scene import ann_and_bob, read_all, send
from chatcore_sqlalchemy import SqlAlchemyStore

TEXTS = [
    *(f"{chr(point)}a{chr(point)}" for point in (*range(1, 0x21), *range(0x7F, 0xA1))),
    *(f"{chr(plane * 0x10000 + end)}" for plane in range(17) for end in (0xFFFE, 0xFFFF)),
    *(
        "\ufdd0\ufdef",
        "\ufeffbom",
        "a\u2028b\u2029c",
        "\u200f\u202eab\u202c",
        "e\u0301 é",
        "\ufffd",
    ),
    *("😀" * 4096, "\U0010ffff" * 4096, "\x1f" * 4095 + "x", '"' * 4096, "\\" * 4096),
    *("\\u0041", '\\"', "\\", '"', "'", "''", "null", "[1,2]", "{}", "1e999", "$[0]", "?", ":seq"),
    *(" lead and trail \t\n", "\r\n", "a\r\nb"),
]


async def assert_exact(path: Path, texts: list[str]) -> None:
    texts = [text for text in texts if not text.isspace()]
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        chat, ann, _ = await ann_and_bob(store)
        for replayed in (False, True):
            sends = (send(store, chat, ann, text, key=f"k{n}") for n, text in enumerate(texts))
            sent = await asyncio.gather(*sends)
            assert [(it.message.text, it.replayed) for it in sent] == [
                (text, replayed) for text in texts
            ]
        assert [it.text for it in await read_all(store, chat)] == texts
    with closing(sqlite3.connect(path)) as connection:
        stored = connection.execute("SELECT CAST(text AS BLOB) FROM messages ORDER BY seq")
        assert [raw for (raw,) in stored] == [text.encode() for text in texts]


async def test_difficult_texts_are_stored_exactly(tmp_path: Path) -> None:
    await assert_exact(tmp_path / "chatcore.db", TEXTS)


def test_any_text_is_stored_exactly(tmp_path: Path) -> None:
    numbers = iter(range(sys.maxsize))
    letters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])

    # Each example opens a database of its own.
    @settings(max_examples=min(settings().max_examples // 2, 500))
    @given(st.lists(st.text(letters, min_size=1), min_size=1, max_size=20))
    def check(texts: list[str]) -> None:
        asyncio.run(assert_exact(tmp_path / f"{next(numbers)}.db", texts))

    check()


async def test_64_bit_numbers_are_stored_exactly(tmp_path: Path) -> None:
    times = [0, 1, -1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 1_767_225_600_123_456]
    path = tmp_path / "chatcore.db"
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        _, ann, _ = await ann_and_bob(store)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                "UPDATE chats SET id = ?, last_seq = ?, activity = ?", (2**63 - 1, 2**60, 2**61)
            )
        for time in times:
            message = NewMessage(2**63 - 1, ann.id, "hello", time)
            assert (await store.append_message(message)).message.sent_us == time
        stored = await store.messages_after(2**63 - 1, 2**60, limit=500)
        assert [it.sent_us for it in stored] == times
        assert [it.seq for it in stored] == [2**60 + n for n in range(1, len(times) + 1)]
        [summary] = await store.chats_of(ann.id, before=None, limit=500)
        assert summary.activity == 2**61 + len(times)
