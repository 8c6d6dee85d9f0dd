"""One file and several processes: concurrent services, kills, other programs."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from chatcore import NewMessage, StoreUnavailable
from chatcore.testing.scene import ann_and_bob, read_all, send
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore
from tests.support.soak import soak_only

# Waits for a line, opens, reports the outcome, and waits for another line or a kill.
SERVICE = """
import asyncio, sys
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        store = await SqlAlchemyStore.open(sys.argv[1])
    except CannotOpen as error:
        return print("refused:", error, flush=True)
    print("open", flush=True)
    sys.stdin.readline()
    await store.close()

asyncio.run(main())
"""

# Dies as by a machine failure, right before the statement of that number.
CREATION = """
import asyncio, os, signal, sys, sqlalchemy
from chatcore_sqlalchemy import SqlAlchemyStore

remaining = int(sys.argv[2])

@sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
def die(connection, cursor, statement, *_):
    global remaining
    remaining -= 1
    if not remaining:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    await (await SqlAlchemyStore.open(sys.argv[1])).close()

asyncio.run(main())
"""


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


@contextmanager
def services(path: Path, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are about to open the file."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SERVICE, f"sqlite:///{path}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        assert [hear(process) for process in processes] == ["ready"] * count
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


async def use(path: Path) -> None:
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        chat, ann, _ = await ann_and_bob(store)
        await send(store, chat, ann, "hello")
        assert [message.text for message in await read_all(store, chat)] == ["hello"]


async def test_of_concurrent_services_exactly_one_gets_the_file(tmp_path: Path) -> None:
    path = tmp_path / "chatcore.db"
    with services(path, 3) as processes:
        for process in processes:
            say(process)
        outcomes = sorted(hear(process) for process in processes)
        assert outcomes[0] == "open"
        for outcome in outcomes[1:]:
            assert outcome.startswith(f"refused: {path} is in use by another process: stop")
    await use(path)


async def test_killed_process_releases_the_file(tmp_path: Path) -> None:
    path = tmp_path / "chatcore.db"
    with services(path, 1) as [process]:
        say(process)
        assert hear(process) == "open"
        process.send_signal(signal.SIGKILL)
        process.wait()
        await use(path)


async def test_interrupted_creation_is_repeated(tmp_path: Path) -> None:
    count = 0
    for number in (1, 12, 99):
        path = tmp_path / f"{number}.db"
        command = [sys.executable, "-c", CREATION, f"sqlite:///{path}", str(number)]
        finished = await asyncio.to_thread(subprocess.run, command)
        if finished.returncode != -signal.SIGKILL:
            break
        async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
            assert store.created
        await use(path)
        count += 1
    assert count == 2


@contextmanager
def locked(path: Path, *statements: str) -> Iterator[None]:
    """Another program holds the write lock of the file."""
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        for statement in statements or ("BEGIN IMMEDIATE",):
            connection.execute(statement).fetchall()
        yield


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(["BEGIN IMMEDIATE"], marks=soak_only),
        pytest.param(["BEGIN EXCLUSIVE"], marks=soak_only),
        ["BEGIN IMMEDIATE", "UPDATE users SET password_hash = ''"],
    ],
    ids=" then ".join,
)
async def test_reads_work_and_writes_fail_while_another_program_writes(
    statements: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "chatcore.db"
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        chat, ann, _ = await ann_and_bob(store)
        await send(store, chat, ann, "before")
        with locked(path, *statements):
            sending = asyncio.create_task(send(store, chat, ann, "in between"))
            turns = 0
            while not sending.done():
                assert [message.text for message in await read_all(store, chat)] == ["before"]
                await asyncio.sleep(0.01)
                turns += 1
            with pytest.raises(StoreUnavailable):
                await sending
            # The event loop did not wait for the lock; otherwise the first turn would take all the
            # time.
            assert turns > 3
        assert (await send(store, chat, ann, "after")).message.seq == 2


async def test_exclusively_locked_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chatcore.db"
    await use(path)
    with (
        locked(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"),
        pytest.raises(CannotOpen, match=r"^cannot open .*: database is locked$"),
    ):
        await SqlAlchemyStore.open(f"sqlite:///{path}")
    await (await SqlAlchemyStore.open(f"sqlite:///{path}")).close()


async def delayed(store: SqlAlchemyStore, path: Path, new: NewMessage) -> None:
    """Send while another program holds the write lock for some turns of the event loop."""
    with locked(path):
        sending = asyncio.create_task(store.append_message(new))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not sending.done()
    await sending


async def test_delayed_writer_continues(tmp_path: Path) -> None:
    path = tmp_path / "chatcore.db"
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        chat, ann, _ = await ann_and_bob(store)
        await delayed(store, path, NewMessage(chat.id, ann.id, "delayed", 0))
        with locked(path), pytest.raises(StoreUnavailable):
            await send(store, chat, ann, "too long")
        # The next wait has its full patience.
        await delayed(store, path, NewMessage(chat.id, ann.id, "delayed", 0))


async def test_removed_file_is_not_recreated(tmp_path: Path) -> None:
    path = tmp_path / "chatcore.db"
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        chat, ann, _ = await ann_and_bob(store)
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        path.rename(tmp_path / "elsewhere.db")
        with pytest.raises(StoreUnavailable):
            await send(store, chat, ann, "to nowhere")
        assert not path.exists()
