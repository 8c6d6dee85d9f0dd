"""Starts the measured services as separate processes."""

import asyncio
import math
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
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.data import SECRET, Data, fill
from chatcore_sqlalchemy import SqlAlchemyStore


@dataclass
class Server:
    """A running service."""

    name: str
    port: int
    pid: int
    rows: Callable[[], int] | None = None
    """Counts the stored messages, from another process; None if not needed."""

    def memory(self) -> int:
        """Resident memory in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def cpu_seconds(self) -> float:
        """User and system time of all threads since the start, in steps of 10 ms; NaN except on
        Linux, which alone has /proc."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except FileNotFoundError:
            return math.nan
        # The program's name, in parentheses, may contain spaces and parentheses.
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


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


def ready_made(name: str) -> AbstractContextManager[Server]:
    """Run the server named `ceiling` or `bare`."""
    return running(name, ("bench.ready_made", name), {})


@contextmanager
def textbook(name: str, url: str) -> Iterator[Server]:
    """Run the textbook service on the database at a SQLAlchemy URL."""
    command = ("uvicorn", "bench.textbook:app", "--log-level", "warning", "--no-access-log")
    with running(name, (*command, "--port"), textbook_settings(url)) as server:
        yield server


@contextmanager
def running(
    name: str,
    command: tuple[str, ...],
    environment: dict[str, str],
    rows: Callable[[], int] | None = None,
) -> Iterator[Server]:
    """Run a Python module that takes its port as the last argument; stop it at the end."""
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
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            # The measurement is over; how it ends does not matter.
            process.kill()
            process.wait()


def _wait_until_up(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 120
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


def make_textbook_data(folder: Path, source: Path) -> str:
    """Create the textbook's tables with the rows of chatcore's; return their URL."""
    database = folder / "textbook.db"
    url = f"sqlite+aiosqlite:///{database}"
    asyncio.run(make_textbook_tables(url))
    with sqlite3.connect(database) as connection:
        connection.execute("ATTACH ? AS source", (str(source),))
        connection.executescript(TEXTBOOK_ROWS)
    connection.close()
    return url


TEXTBOOK_ROWS = """
INSERT INTO users (id, username, password_hash)
SELECT id, name, a.password_hash FROM source.users JOIN source.accounts AS a ON a.user_id = id;
INSERT INTO chats (id, user1_id, user2_id) SELECT id, lo_id, hi_id FROM source.chats;
INSERT INTO messages (chat_id, sender_id, text, sent_at)
SELECT chat_id, sender_id, text, '2026-01-01 00:00:00' FROM source.messages ORDER BY chat_id, seq;
"""


async def make_textbook_tables(url: str) -> None:
    os.environ.update(textbook_settings(url))
    from sqlalchemy.ext.asyncio import create_async_engine

    from bench.textbook import Base

    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


def textbook_settings(url: str) -> dict[str, str]:
    return {"BENCH_SECRET": SECRET, "BENCH_DATABASE_URL": url}
