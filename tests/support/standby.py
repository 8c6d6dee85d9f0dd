"""A PostgreSQL server with a standby that can take over, and an address that moves.

    with primary_and_standby(synchronous=True) as pair:
        pair.primary.kill()
        pair.standby.promote()

Both listen on a port of 127.0.0.1, which they keep over restarts. Needs /proc, to find the
processes of a server.
"""

import asyncio
import contextlib
import os
import random
import re
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.postgres_server import SECONDS, PostgresServer, programs, readable
from tests.support.repository import ROOT

HOST = "127.0.0.1"
FAILOVER = ROOT / "docs" / "failover.md"
PORTS = range(20_000, 32_000)
"""Below the ports that systems give to outgoing connections, so that a server that was stopped
finds its port free again."""


def a_free_port() -> int:
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port


class TcpServer(PostgresServer):
    """A server on a TCP port, as a primary. It can be killed, frozen, and returned."""

    def __init__(self, programs: Path, folder: Path, **settings: str) -> None:
        self.port = a_free_port()
        super().__init__(programs, folder, listen_addresses=HOST, port=str(self.port), **settings)

    @property
    def address(self) -> str:
        """`host:port`, as it stands in a URL."""
        return f"{HOST}:{self.port}"

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@{self.address}/{database}"

    def kill(self) -> None:
        """Kill all processes of the server, as a crash of its machine would. `start` returns
        it."""
        for process in self._stopped_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait(SECONDS)
        # It says that the server is ready, which is no longer true.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop all processes. The kernel still accepts connections, and nothing answers them."""
        self._stopped_processes()

    def thaw(self) -> None:
        for process in (*_children(self._process.pid), self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        if self._process.poll() is None:
            self.thaw()
            super().stop(how)

    def wait_for(self, condition: str) -> None:
        """Wait until the SQL expression is true."""
        deadline = time.monotonic() + SECONDS
        while self.sql(f"SELECT {condition}") != "t":
            assert time.monotonic() < deadline, condition
            time.sleep(0.05)

    def set(self, setting: str, value: str) -> None:
        """Change a setting of the running server, and of its later starts."""
        # Each alone: ALTER SYSTEM refuses a transaction, which two commands would be.
        self.sql(f"ALTER SYSTEM SET {setting} = '{value}'")
        self.sql("SELECT pg_reload_conf()")

    def _stopped_processes(self) -> list[int]:
        # The first one starts the others, and would replace one that is killed.
        os.kill(self._process.pid, signal.SIGSTOP)
        children = _children(self._process.pid)
        for process in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)
        return [*children, self._process.pid]


class StandbyServer(TcpServer):
    """A copy of a primary, which follows it until it is promoted."""

    def __init__(self, programs: Path, folder: Path, primary: TcpServer) -> None:
        self._primary = primary
        super().__init__(programs, folder)

    def _begin(self) -> None:
        options = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        target = f"--pgdata={self._data}"
        self._run(
            "pg_basebackup", f"--dbname={self._primary.url()}", target, *options, user=self._user
        )
        self.start()
        self._primary.wait_for("count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")

    def promote(self) -> None:
        """Make it a primary on a timeline of its own. Returns when it takes writes."""
        self.sql(f"SELECT pg_promote(true, {SECONDS})")
        self.wait_for("NOT pg_is_in_recovery()")

    def fall_behind(self) -> None:
        """Receive nothing more. What the primary commits from now on is lost if this one is
        promoted."""
        self.set("primary_conninfo", "")
        self.wait_for("count(*) = 0 FROM pg_stat_wal_receiver")


@dataclass(frozen=True)
class Pair:
    primary: TcpServer
    standby: StandbyServer

    def url(self, database: str = "postgres") -> str:
        """Both servers, the first primary first, as docs/failover.md has it."""
        url = re.search(r"^postgresql://\S+$", FAILOVER.read_text("utf-8"), re.MULTILINE)
        assert url
        replaced = url[0].replace("chatcore:password@db1:5432", f"postgres@{self.primary.address}")
        replaced = replaced.replace("db2:5432/chatcore", f"{self.standby.address}/{database}")
        assert replaced.count(HOST) == 2
        return replaced


@contextlib.contextmanager
def primary_and_standby(*, synchronous: bool) -> Iterator[Pair]:
    """Run two servers during the block.

    If `synchronous`, the primary acknowledges no commit that the standby has not on its disk, and
    goes on waiting once the standby is promoted. The promoted one waits for nobody.
    """
    with contextlib.ExitStack() as stack:
        folders = [
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"chatcore-{name}-")))
            for name in ("primary", "standby")
        ]
        binaries = readable(programs(), folders[0])
        primary = TcpServer(binaries, folders[0], wal_keep_size="512MB")
        stack.callback(primary.stop, signal.SIGQUIT)
        standby = StandbyServer(binaries, folders[1], primary)
        stack.callback(standby.stop, signal.SIGQUIT)
        if synchronous:
            primary.set("synchronous_standby_names", "*")
            primary.wait_for("count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
        yield Pair(primary, standby)


class Address:
    """A port of 127.0.0.1 that stands for one server, and later for another one.

    Connections stay with the server that they were made to, as after a change of DNS.
    """

    def __init__(self, target: TcpServer) -> None:
        self.target = target
        self.port = 0
        self._open: set[asyncio.Task[None]] = set()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"

    def cut(self) -> None:
        """Break all connections, as when an address moves to another machine."""
        for task in self._open:
            task.cancel()

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(HOST, self.target.port)
        except OSError:
            to_client.transport.abort()
            return
        pumps = [
            asyncio.create_task(_pump(client, to_server)),
            asyncio.create_task(_pump(server, to_client)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in (to_client, to_server):
                end.transport.abort()

    def _connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(client, to_client))
        self._open.add(task)
        task.add_done_callback(self._open.discard)


@contextlib.asynccontextmanager
async def address_of(target: TcpServer) -> AsyncIterator[Address]:
    """Forward connections to the server, until another one is set as `target`."""
    address = Address(target)
    listener = await asyncio.start_server(address._connected, HOST, 0)
    address.port = listener.sockets[0].getsockname()[1]
    try:
        yield address
    finally:
        listener.close()
        address.cut()
        await asyncio.gather(*address._open, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()


def _children(process: int) -> list[int]:
    """The processes that it has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # The process has ended since the listing.
            _, _, about = entry.read_text().rpartition(")")
            if int(about.split()[1]) == process:
                found.append(int(entry.parent.name))
    return found
