"""A real PgBouncer for the tests, where Debian's package is installed."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.postgres_server import SECONDS, UNPRIVILEGED, PostgresServer

SPOILT = """
SET synchronous_commit = off; SET default_transaction_isolation = serializable;
SET search_path = public; SET plan_cache_mode = force_custom_plan; SET enable_hashjoin = on
"""
"""What other clients may leave in the sessions of a pooler in transaction mode."""

SHARED = {
    "pool_mode": "transaction",
    # Each transaction gets another session than the one before.
    "server_round_robin": "1",
    "min_pool_size": "3",
}


class PgBouncer:
    """A pooler in its own folder before one server. Its clients log in without a password, as
    `postgres`, `somebody` or `role`."""

    def __init__(
        self,
        folder: Path,
        server: str,
        *,
        connect_query: str = "",
        role: str = "nobody",
        **settings: str,
    ) -> None:
        self._folder = folder
        query = f" connect_query='{' '.join(connect_query.split())}'" if connect_query else ""
        settings = {
            "unix_socket_dir": str(folder),
            "listen_port": "5432",
            "auth_type": "trust",
            "auth_file": str(folder / "users"),
            "max_client_conn": "500",
            # The tests end the server, and start it again at once.
            "server_login_retry": "0.1",
            "query_wait_timeout": "5",
            **settings,
        }
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        names = ("postgres", "somebody", role)
        (folder / "users").write_text("".join(f'"{name}" ""\n' for name in names))
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={server}{query}\n[pgbouncer]\n{lines}\n"
        )
        folder.chmod(0o755)
        user = [f"--user={UNPRIVILEGED}"] if os.geteuid() == 0 else []
        if user:
            shutil.chown(folder, UNPRIVILEGED)
        self._process = subprocess.Popen(
            [_program(), "--quiet", *user, str(folder / "pgbouncer.ini")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + SECONDS
        while not _listens(folder / ".s.PGSQL.5432"):
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def url(self, direct: str) -> str:
        """The URL through the pooler, for one of the server itself."""
        [folder] = parse_qs(urlsplit(direct).query)["host"]
        return direct.replace(f"host={folder}", f"host={self._folder}")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)


def _program() -> str:
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("needs PgBouncer: apt install pgbouncer")
    return program


def _listens(path: Path) -> bool:
    # The file appears before the server listens.
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@contextlib.contextmanager
def pgbouncer(direct: str, **settings: str) -> Iterator[PgBouncer]:
    """Run a pooler before the server of a URL during the block. `settings` are settings of
    PgBouncer."""
    [server] = parse_qs(urlsplit(direct).query)["host"]
    with tempfile.TemporaryDirectory(prefix="chatcore-pooler-") as name:
        pooler = PgBouncer(Path(name), server, **settings)
        try:
            yield pooler
        finally:
            pooler.stop()


@pytest.fixture(scope="session")
def transaction_pooler(postgres: PostgresServer) -> Iterator[PgBouncer]:
    """One pooler in transaction mode for all tests: each transaction gets another session, and each
    session has settings of others."""
    with pgbouncer(postgres.url(), connect_query=SPOILT, **SHARED) as pooler:
        yield pooler
