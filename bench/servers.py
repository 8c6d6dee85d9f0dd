"""The services that are measured, as processes of their own."""

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.data import SECRET, Data, fill
from chatcore_sqlalchemy import SqlAlchemyStore


@dataclass
class Server:
    name: str
    port: int
    pid: int
    rows: Callable[[], int] | None = None
    """Messages stored, as another process sees them; None if that is not of interest."""

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024


@contextmanager
def chatcore(database: Path, **environment: str) -> Iterator[Server]:
    settings = {"CHATCORE_DATABASE_URL": f"sqlite:///{database}"} | environment

    def rows() -> int:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            count: int = connection.execute("SELECT count(*) FROM messages").fetchone()[0]
        connection.close()
        return count

    command = ("chatcore_server", "serve", "--port")
    with running("chatcore", command, settings, rows) as server:
        yield server


@contextmanager
def ceiling() -> Iterator[Server]:
    with running("ceiling", ("bench.ceiling",), {}) as server:
        yield server


@contextmanager
def textbook(database: Path) -> Iterator[Server]:
    command = ("uvicorn", "bench.textbook:app", "--log-level", "warning", "--no-access-log")
    settings = _textbook_settings(database)
    with running("textbook", (*command, "--port"), settings) as server:
        yield server


@contextmanager
def running(
    name: str,
    command: tuple[str, ...],
    environment: dict[str, str],
    rows: Callable[[], int] | None = None,
) -> Iterator[Server]:
    """A Python module that serves on the port that is its last argument."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", *command, str(port)],
        env=os.environ | {"CHATCORE_SECRET": SECRET} | environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_until_up(process, port)
        yield Server(name, port, process.pid, rows)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _wait_until_up(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not answer")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def make_chatcore_data(folder: Path, data: Data) -> Path:
    database = folder / "chatcore.db"

    async def make() -> None:
        async with await SqlAlchemyStore.open(f"sqlite:///{database}") as store:
            await fill(store, data)

    asyncio.run(make())
    return database


def make_textbook_data(folder: Path, source: Path) -> Path:
    """The textbook's tables, with the rows of chatcore's."""
    database = folder / "textbook.db"
    os.environ.update(_textbook_settings(database))
    from sqlalchemy import create_engine

    from bench.textbook import Base

    engine = create_engine(f"sqlite:///{database}")
    Base.metadata.create_all(engine)
    engine.dispose()
    with sqlite3.connect(database) as connection:
        connection.execute("ATTACH ? AS source", (str(source),))
        connection.execute(
            "INSERT INTO users (id, username, password_hash) "
            "SELECT id, name, password_hash FROM source.users"
        )
        connection.execute(
            "INSERT INTO chats (id, user1_id, user2_id) SELECT id, lo_id, hi_id FROM source.chats"
        )
        connection.execute(
            "INSERT INTO messages (chat_id, sender_id, text, sent_at) SELECT chat_id, sender_id, "
            "text, '2026-01-01 00:00:00' FROM source.messages ORDER BY chat_id, seq"
        )
    connection.close()
    return database


def _textbook_settings(database: Path) -> dict[str, str]:
    return {"BENCH_SECRET": SECRET, "BENCH_DATABASE_URL": f"sqlite+aiosqlite:///{database}"}
