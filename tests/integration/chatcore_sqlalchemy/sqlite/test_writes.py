"""Writes that share a transaction: cancelled, refused, failed, too many, or pending at close."""

import asyncio
import functools
import itertools
import sqlite3
import threading
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chatcore import (
    ChatExists,
    ChatNotFound,
    KeyReused,
    NameTaken,
    NewMessage,
    Overloaded,
    Sent,
    StoreUnavailable,
    UserName,
    UserNotFound,
)
from chatcore.testing.scene import Scene, add_user, ann_and_bob, read_all, send
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.queries.users import ADD_USER, USER_BY_NAME
from chatcore_sqlalchemy.sqlite.database import SqliteDatabase


async def gather(*calls: Coroutine[Any, Any, Any]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


def assert_unlocked(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")


async def texts(store: SqlAlchemyStore, scene: Scene) -> list[str]:
    """All texts of the chat, whose numbers must have no gaps."""
    stored = await read_all(store, scene.chat)
    assert [message.seq for message in stored] == [*range(1, len(stored) + 1)]
    return [message.text for message in stored]


async def test_1000_cancellations_leave_nothing_behind(
    store: SqlAlchemyStore, scene: Scene, path: Path
) -> None:
    random = Random(1)
    chat, ann, bob = scene
    tasks_before, threads_before = len(asyncio.all_tasks()), threading.active_count()
    cancelled, returned, numbers = 0, list[str](), itertools.count()

    async def sender(number: int) -> None:
        for turn in range(20):
            returned.append((await send(store, chat, bob, f"load {number}.{turn}")).message.text)

    async def disturb() -> None:
        nonlocal cancelled
        while cancelled < 1000:
            name = f"{next(numbers)}"
            match random.randrange(4):
                case 0:
                    call: Coroutine[Any, Any, Any] = add_user(store, name)
                case 1:
                    call = store.open_chat(ann.id, random.randrange(1, 1000), 0)
                case _:
                    call = send(store, chat, ann, name, random.choice([None, name]))
            task = asyncio.create_task(call)
            for _ in range(random.randrange(12)):
                await asyncio.sleep(random.choice([0, 0, 0.001]))
            cancelled += task.cancel()
            [outcome] = await gather(task)  # type: ignore[arg-type]
            if isinstance(outcome, Sent):
                returned.append(outcome.message.text)

    await asyncio.gather(*map(sender, range(8)), *(disturb() for _ in range(16)))
    # Cancelled writes may still be under way; this one comes after them.
    await send(store, chat, ann, "on")
    stored = await texts(store, scene)
    assert stored[-1] == "on"
    assert cancelled >= 1000
    assert len(stored) == len(set(stored))
    assert set(returned) <= set(stored)
    assert (len(asyncio.all_tasks()), threading.active_count()) == (tasks_before, threads_before)
    assert_unlocked(path)


async def test_queue_survives_the_cancellation_of_every_task(
    store: SqlAlchemyStore, scene: Scene
) -> None:
    chat, ann, _ = scene
    for turns in range(8):
        before = asyncio.all_tasks()
        sending = [asyncio.create_task(send(store, chat, ann, f"{turns}")) for _ in range(8)]
        for _ in range(turns):
            await asyncio.sleep(0)
        # All tasks that the sends started, including those of the store.
        for task in asyncio.all_tasks() - before:
            task.cancel()
        await asyncio.wait(sending)
        async with asyncio.timeout(60):
            await send(store, chat, ann, "on")
    assert (await texts(store, scene)).count("on") == 8


async def test_close_finishes_waiting_writes(path: Path) -> None:
    store = await SqlAlchemyStore.open(f"sqlite:///{path}")
    scene = await ann_and_bob(store)
    chat, ann, _ = scene
    sending = asyncio.gather(*(send(store, chat, ann, f"{n}") for n in range(2000)))
    await asyncio.sleep(0)
    closing = asyncio.gather(store.close(), store.close())
    await asyncio.sleep(0)
    for call in (send(store, chat, ann, "late"), store.last_seq(chat.id), add_user(store, "eve")):
        with pytest.raises(StoreUnavailable):
            await call
    assert [sent.message.seq for sent in await sending] == [*range(1, 2001)]
    await closing
    await store.close()
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        assert await texts(store, scene) == [f"{n}" for n in range(2000)]


async def test_cancelled_close_still_closes(path: Path) -> None:
    store = await SqlAlchemyStore.open(f"sqlite:///{path}")
    scene = await ann_and_bob(store)
    sending = asyncio.gather(*(send(store, scene.chat, scene.ann, f"{n}") for n in range(600)))
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    assert len(await sending) == 600
    await store.close()
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        assert len(await texts(store, scene)) == 600


async def test_cancelled_open_releases_the_file(path: Path) -> None:
    threads = threading.active_count()
    for turns in range(6):
        opening = asyncio.create_task(SqlAlchemyStore.open(f"sqlite:///{path}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        [outcome] = await gather(opening)  # type: ignore[arg-type]
        assert isinstance(outcome, asyncio.CancelledError)
        assert threading.active_count() == threads
        await (await SqlAlchemyStore.open(f"sqlite:///{path}")).close()


async def test_full_queue_refuses_and_recovers(store: SqlAlchemyStore, scene: Scene) -> None:
    chat, ann, _ = scene
    outcomes = await gather(*(send(store, chat, ann, f"{n}") for n in range(12_000)))
    kinds = {type(outcome) for outcome in outcomes}
    assert kinds == {Sent, Overloaded}
    stored = [f"{n}" for n, outcome in enumerate(outcomes) if isinstance(outcome, Sent)]
    assert await texts(store, scene) == stored
    await send(store, chat, ann, "on")


async def test_refused_write_affects_no_other(store: SqlAlchemyStore, scene: Scene) -> None:
    chat, ann, bob = scene
    eve = await add_user(store, "eve")
    await send(store, chat, ann, "first", key="k")
    calls: list[tuple[Coroutine[Any, Any, Any], type[Exception] | None]] = [
        (send(store, chat, ann, "one"), None),
        (send(store, chat, ann, "other text", key="k"), KeyReused),
        (add_user(store, "ANN"), NameTaken),
        (send(store, chat, eve, "not hers"), ChatNotFound),
        (store.append_message(NewMessage(99, ann.id, "nowhere", 0)), ChatNotFound),
        (store.append_message(NewMessage(2**70, 2**70, "far away", 0)), ChatNotFound),
        (store.open_chat(bob.id, ann.id, 0), ChatExists),
        (store.open_chat(bob.id, 99, 0), UserNotFound),
        # Outside the range of ids, and no concern of the others.
        (store.open_chat(bob.id, 2**70, 0), OverflowError),
        (add_user(store, "fay"), None),
        (store.open_chat(eve.id, bob.id, 0), None),
        (send(store, chat, bob, "two"), None),
    ]
    outcomes = await gather(*(call for call, _ in calls))
    for outcome, (_, error) in zip(outcomes, calls, strict=True):
        assert isinstance(outcome, Exception) == (error is not None), outcome
        assert error is None or type(outcome) is error
    assert await texts(store, scene) == ["first", "one", "two"]
    assert await store.user_by_name("fay") is not None
    assert await store.chat_with(eve.id, "bob") is not None


@pytest.mark.parametrize(
    "trigger",
    [
        "BEFORE INSERT ON messages WHEN NEW.text = 'bang' BEGIN SELECT RAISE(ABORT, 'no'); END",
        "BEFORE INSERT ON messages WHEN NEW.text = 'bang' BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
        # After the messages were inserted.
        "BEFORE UPDATE ON chats WHEN NEW.last_seq = 4 BEGIN SELECT RAISE(FAIL, 'no'); END",
        "BEFORE INSERT ON users WHEN NEW.name = 'bang' BEGIN SELECT RAISE(ABORT, 'no'); END",
        "BEFORE INSERT ON users WHEN NEW.name = 'bang' BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    ],
)
async def test_failure_affects_only_its_batch(
    trigger: str, store: SqlAlchemyStore, scene: Scene, path: Path
) -> None:
    chat, ann, _ = scene
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TRIGGER fault {trigger}")
    calls = [
        send(store, chat, ann, "one"),
        send(store, chat, ann, "two"),
        send(store, chat, ann, "bang"),
        add_user(store, "bang"),
        send(store, chat, ann, "four"),
    ]
    outcomes = await gather(*calls)
    assert any(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    sent = [outcome.message.text for outcome in outcomes if isinstance(outcome, Sent)]
    assert await texts(store, scene) == sent
    assert_unlocked(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER fault")
    await send(store, chat, ann, "on")
    assert await texts(store, scene) == [*sent, "on"]
    assert await store.add_user(UserName("eve"), "hash", 0)


async def test_failure_names_its_cause_and_no_message_text(
    store: SqlAlchemyStore, scene: Scene, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE users")
    with pytest.raises(StoreUnavailable) as failed:
        await store.add_user(UserName("eve"), "a secret hash", 0)
    assert "no such table" in str(failed.value.__cause__)
    assert "secret" not in f"{failed.value!r} {failed.value.__cause__!r}"


async def test_raising_change_is_rolled_back_alone(path: Path) -> None:
    database = SqliteDatabase(path)
    await database.open()

    def change(run: Run, name: str, error: Exception | None) -> None:
        run(ADD_USER, name=name, canonical=name, registered_us=0)
        if error:
            raise error

    errors = [None, NameTaken(), None, ZeroDivisionError(), None]
    changes = (functools.partial(change, name=f"{n}", error=it) for n, it in enumerate(errors))
    assert await gather(*map(database.write, changes)) == errors
    names = [await database.read(USER_BY_NAME, canonical=f"{n}") for n in range(len(errors))]
    assert [not found for found in names] == [error is not None for error in errors]
    await database.close()


def test_interrupt_during_a_write_does_not_hang_shutdown(path: Path) -> None:
    def change(_: Run) -> None:
        raise SystemExit

    async def main() -> None:
        database = SqliteDatabase(path)
        await database.open()
        try:
            await database.write(change)
        finally:
            async with asyncio.timeout(60):
                await database.close()

    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert_unlocked(path)
