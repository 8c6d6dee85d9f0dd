"""`chatcore backup`: a copy made during writes is complete, sound, and a store of its own."""

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from chatcore import NewMessage, UserName
from chatcore.testing import sessions
from chatcore.testing.scene import NOW_US, ann_and_bob
from chatcore_jwt import JwtTokens
from chatcore_server.key_file import key_path
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore
from chatcore_sqlalchemy.tools.backup import IDS_APART, PIECE, backup
from chatcore_sqlalchemy.tools.check import check_database
from tests.support.clients import client_at
from tests.support.service import QuickService, environment, run

PAIRS = 4


def quiet(done: int, total: int) -> None:
    assert 0 <= done <= total


async def with_pairs(path: Path) -> None:
    """Add users 1, 2, … named "user 1", "user 2", …, and a chat for each two of them."""
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        users = [
            await store.add_user(UserName(f"user {n + 1}"), "hash", 0) for n in range(2 * PAIRS)
        ]
        for one, other in zip(users[::2], users[1::2], strict=True):
            await store.open_chat(one.id, other.id, 0)


def bearer(database: Path, user_id: int) -> dict[str, str]:
    """The headers of a user who has logged in to the service of that database."""
    tokens = JwtTokens(key_path(database).read_text().strip())
    return {"authorization": f"Bearer {tokens.issue(user_id, datetime.now(UTC))}"}


class Senders:
    """Both users of each pair send one message after the other until the test stops them."""

    def __init__(self, http: httpx.Client, database: Path) -> None:
        self._http = http
        self._stop = threading.Event()
        self.acknowledged: list[tuple[str, str]] = []
        """Sender and text, in the order of the answers."""
        self.people = [(f"user {n}", f"user {n + 1}") for n in range(1, 2 * PAIRS, 2)]
        self._bearers = {f"user {n}": bearer(database, n) for n in range(1, 2 * PAIRS + 1)}

    def _talk(self, name: str, peer: str) -> None:
        n = 0
        while not self._stop.is_set():
            text = f"{name} says {n}"
            answer = self._http.post(
                f"/chats/{peer}/messages", headers=self._bearers[name], json={"message": text}
            )
            assert answer.status_code == 201
            self.acknowledged.append((name, text))
            n += 1

    @contextmanager
    def talking(self) -> Iterator[None]:
        with ThreadPoolExecutor(2 * PAIRS) as threads:
            talks = [
                threads.submit(self._talk, *pair)
                for a, b in self.people
                for pair in ((a, b), (b, a))
            ]
            try:
                while len(self.acknowledged) < 200 and not any(talk.done() for talk in talks):
                    time.sleep(0.01)
                yield
            finally:
                self._stop.set()
        for talk in talks:
            talk.result()


def test_copy_made_during_writes_is_complete(tmp_path: Path) -> None:
    asyncio.run(with_pairs(tmp_path / "chatcore.db"))
    with (
        QuickService(tmp_path) as service,
        client_at(service.url, limits=httpx.Limits()) as http,
    ):
        senders = Senders(http, service.database_path)
        with senders.talking():
            before = len(senders.acknowledged)
            made = run("backup", "copy.db", cwd=tmp_path)
            during = len(senders.acknowledged) - before
    assert (made.returncode, made.stderr) == (0, "")
    assert "copy.db holds everything stored when the copy began" in made.stdout
    assert "The signing key is not in it" in made.stdout
    assert during > 0
    faults: list[str] = []
    counts = asyncio.run(
        check_database(f"sqlite:///{tmp_path}/copy.db", faults.append, lambda *_: None)
    )
    assert faults == []
    assert (counts["users"], counts["chats"]) == (2 * PAIRS, PAIRS)

    restored = tmp_path / "restored"
    restored.mkdir()
    shutil.copy(tmp_path / "copy.db", restored / "chatcore.db")
    with QuickService(restored) as again, client_at(again.url) as http:
        name, peer = senders.people[0]
        # The copy has another key, so a token issued after it cannot name another user here.
        assert http.get("/chats", headers=bearer(service.database_path, 1)).status_code == 401
        mine = bearer(again.database_path, 1)
        text = {"message": "and on it goes"}
        sent = http.post(f"/chats/{peer}/messages", headers=mine, json=text)
        assert sent.status_code == 201
        history = http.get(f"/chats/messages/{peer}", headers=mine).json()
        assert history[-1] == {"sender": name, **text}
    with closing(sqlite3.connect(restored / "chatcore.db")) as connection:
        held = set(
            connection.execute("SELECT name, text FROM messages JOIN users ON id = sender_id")
        )
    assert set(senders.acknowledged[:before]) <= held


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "chatcore.db"

    async def fill() -> None:
        async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
            chat, ann, _ = await ann_and_bob(store)
            await sessions.add(store, ann)
            await store.append_message(
                NewMessage(chat.id, ann.id, "rewritten", NOW_US, "key", "hello")
            )

    asyncio.run(fill())
    return path


async def test_copy_is_a_store_of_its_own(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    size = backup(source, target, quiet)
    assert size == target.stat().st_size
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not [name for name in os.listdir(tmp_path) if name.startswith("copy.db.")]
    async with (
        await SqlAlchemyStore.open(f"sqlite:///{source}") as old,
        await SqlAlchemyStore.open(f"sqlite:///{target}") as new,
    ):
        # Retries of what was sent before are replays in both.
        for store in (old, new):
            assert (await store.append_message(NewMessage(1, 1, "hello", 0, "key"))).replayed
        # Device sessions stay behind, as the key of the tokens does.
        assert len(await old.sessions_of(1, NOW_US)) == 1
        assert await new.sessions_of(1, NOW_US) == []
        # Events after the copy are not in it, so a client that saw them must sync again.
        assert await new.events_after(await old.end_of_log(1), limit=1) is None
        assert (await old.add_user(UserName("eve"), "hash", 0)).id == 3
        dan = await new.add_user(UserName("dan"), "hash", 0)
        assert dan.id == IDS_APART + 3
        assert (await new.open_chat(1, dan.id, 0)).id == IDS_APART + 2


def test_concurrent_writes_do_not_restart_the_copy(source: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(source)) as writer:
        writer.execute("CREATE TABLE ballast (x)")
        writer.execute("INSERT INTO ballast VALUES (zeroblob(?))", (4 * PIECE * 4096,))
        writer.commit()
        progress: list[int] = []

        def write(done: int, total: int) -> None:
            progress.append(done)
            writer.execute("INSERT INTO ballast VALUES (1)")
            writer.commit()

        backup(source, tmp_path / "copy.db", write)
    assert progress == sorted(set(progress))
    assert len(progress) == 5
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT count(*) FROM ballast").fetchone() == (1,)


def test_existing_target_is_left_unchanged(source: Path, tmp_path: Path) -> None:
    (tmp_path / "there.db").write_text("mine")
    (tmp_path / "link.db").symlink_to("nowhere")
    for name in ("there.db", "link.db", "chatcore.db"):
        with pytest.raises(CannotOpen, match=f"{name} already exists"):
            backup(source, tmp_path / name, quiet)
    assert (tmp_path / "there.db").read_text() == "mine"


def test_target_created_during_the_copy_is_left_unchanged(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()

    def create_target(_done: int, _total: int) -> None:
        (folder / "copy.db").write_text("mine")

    with pytest.raises(CannotOpen, match=r"copy\.db already exists"):
        backup(source, folder / "copy.db", create_target)
    assert (folder / "copy.db").read_text() == "mine"
    assert os.listdir(folder) == ["copy.db"]


def test_failed_backup_leaves_nothing(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()

    def fail(done: int, total: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(CannotOpen, match=r"cannot copy .* No space left on device"):
        backup(source, folder / "copy.db", fail)
    with pytest.raises(CannotOpen, match="there is no file"):
        backup(tmp_path / "none.db", folder / "copy.db", quiet)
    assert list(folder.iterdir()) == []
    with pytest.raises(CannotOpen, match="No such file or directory"):
        backup(source, tmp_path / "nowhere" / "copy.db", quiet)


STOPPED = """
import os, signal, sys
from pathlib import Path
import chatcore_sqlalchemy.tools.backup as it

made = it.backup

def backup(source, target, tell):
    def stop(done, total):
        os.kill(os.getpid(), signal.SIGTERM)
        tell(done, total)
    return made(source, target, stop)

it.backup = backup
from chatcore_server.cli import main
sys.exit(main(["backup", "copies/copy.db"]))
"""


def test_interrupted_backup_leaves_nothing(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", STOPPED],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (130, b"")
    assert os.listdir(tmp_path / "copies") == []


def test_backup_of_postgresql_is_refused(tmp_path: Path) -> None:
    refused = run("backup", "--database-url", "postgresql://u@h/d", "copy.db", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(
        "chatcore: backup copies SQLite files only; for PostgreSQL use pg_dump"
    )
    assert refused.stderr.count("\n") == 1
