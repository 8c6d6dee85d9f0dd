"""Every failure to start is one line on standard error and exit status 2."""

import asyncio
import re
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import NamedTuple

import pytest

from chatcore_sqlalchemy import migrate
from tests.support.apps import SECRET
from tests.support.postgres_proxy import ASK_FOR_TLS
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.service import run
from tests.support.soak import SOAK

SERVE = ["serve", "--port", "0"]
COMMANDS = {
    "serve": SERVE,
    "migrate": ["migrate"],
    "check": ["check"],
    "passwd": ["passwd", "ann"],
    "copy": ["copy", "--from", "sqlite:///full.db"],
}
UNKNOWN_HOST = ".".join(["x" * 60] * 5)
"""Too long for a DNS query."""

PASSWORD = "hush-hush"
LINE = re.compile(r"chatcore: [^\n]+\n")


def refused_with(code: str, message: str) -> bytes:
    """PostgreSQL's ErrorResponse."""
    fields = b"".join(
        letter + value.encode() + b"\0"
        for letter, value in (*((b"S", "FATAL"), (b"V", "FATAL"), (b"C", code), (b"M", message)),)
    )
    return b"E" + (len(fields) + 5).to_bytes(4) + fields + b"\0"


class Server(NamedTuple):
    """A server that is not PostgreSQL, or refuses connections: its answer to the first message."""

    answer: bytes
    text: str
    """The text that the error line contains."""
    query: str = ""
    """The query of the URL."""


NO_HBA = 'no pg_hba.conf entry for host "10.0.0.1", user "ann", database "chat", no encryption'
POOLER = "unsupported startup parameter: statement_timeout"

SERVERS = {
    "wrong password": Server(
        refused_with("28P01", 'password authentication failed for user "ann"'),
        'password authentication failed for user "ann"',
    ),
    "unknown database": Server(
        refused_with("3D000", 'database "chat" does not exist'), 'database "chat" does not exist'
    ),
    "starting": Server(
        refused_with("57P03", "the database system is starting up"), "is starting up"
    ),
    "stopping": Server(
        refused_with("57P03", "the database system is shutting down"), "is shutting down"
    ),
    "too many clients": Server(
        refused_with("53300", "sorry, too many clients already"), "too many clients already"
    ),
    "TLS required": Server(refused_with("28000", NO_HBA), "no encryption"),
    "no TLS": Server(b"N", "SSL", "?sslmode=require"),
    "TLS promised but missing": Server(b"S" + b"no TLS at all", "", "?sslmode=require"),
    "pooler": Server(refused_with("08P01", POOLER), "docs/scaling.md"),
    "transaction pooler": Server(
        refused_with("42P05", 'prepared statement "__asyncpg_stmt_1__" already exists'),
        "docs/scaling.md",
    ),
    "unsupported authentication": Server(b"R\0\0\0\x08\0\0\0\x07", ""),
    "SSH": Server(b"SSH-2.0-OpenSSH_9.2\r\n", ""),
    "HTTP": Server(b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
    "random bytes": Server(bytes(range(256)) * 8, ""),
    "closed connection": Server(b"", ""),
}


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[int]:
    """The port of a server that sends this answer to each client; None for no answer."""
    going = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opening = await reader.read(4096)
        # No server answers the TLS question with this; send it to the message that follows.
        if opening[4:] == ASK_FOR_TLS and answer and answer[:1] in b"ER":
            writer.write(b"N")
            await reader.read(4096)
        if answer is None:
            await going.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        going.set()
        server.close()


@pytest.fixture(scope="module")
async def full_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("full") / "full.db"
    await migrate(f"sqlite:///{path}")
    return path


def some_of(commands: dict[str, list[str]], number: int) -> dict[str, list[str]]:
    """Return `serve` and another command, a different one for each number; in the soak, all."""
    first, *others = commands
    chosen = commands if SOAK else (first, others[number % len(others)])
    return {name: commands[name] for name in chosen}


class Case(NamedTuple):
    name: str
    arguments: Sequence[str]
    settings: dict[str, str]
    text: str = ""
    prepare: Callable[[Path], object] = lambda _: None
    connect_seconds: float = 60


async def expect_one_line(cases: Sequence[Case], folder: Path, full_file: Path) -> None:
    wrong = []
    for number, case in enumerate(cases):
        own = folder / str(number)
        own.mkdir()
        (own / "full.db").symlink_to(full_file)
        case.prepare(own)
        ended = await asyncio.to_thread(
            run,
            *case.arguments,
            cwd=own,
            stdin=f"{PASSWORD}-long-enough\n",
            connect_seconds=str(case.connect_seconds),
            **case.settings,
        )
        if (
            ended.returncode != 2
            or ended.stdout
            or not LINE.fullmatch(ended.stderr)
            or not re.search(case.text, ended.stderr)
            or PASSWORD in ended.stderr
        ):
            wrong.append((case.name, case.arguments[0], ended))
    assert wrong == []


async def test_server_that_refuses_connections_is_reported_in_one_line(
    tmp_path: Path, full_file: Path
) -> None:
    cases = []
    async with AsyncExitStack() as stack:
        for name, (answer, text, query) in SERVERS.items():
            port = await stack.enter_async_context(answering(answer))
            url = f"postgresql://ann:{PASSWORD}@127.0.0.1:{port}/chat{query}"
            settings = {"database_url": url, "secret": SECRET}
            cases.append(Case(name, SERVE, settings, text))
            if name == "pooler":
                cases.append(Case(name, COMMANDS["passwd"], settings, text))
            elif SOAK:
                cases.append(Case(name, COMMANDS["migrate"], settings, text))
        await expect_one_line(cases, tmp_path, full_file)


async def test_unreachable_server_is_reported_in_one_line(tmp_path: Path, full_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cases = []
    async with answering(None) as silent:
        for number, (name, where, text, seconds) in enumerate(
            (
                ("refused", f"127.0.0.1:{port}", "refused", 60.0),
                ("no such host", UNKNOWN_HOST, "", 60.0),
                ("silent", f"127.0.0.1:{silent}", "no answer within 0.5 seconds", 0.5),
            )
        ):
            settings = {"database_url": f"postgresql://ann:{PASSWORD}@{where}/chat"}
            settings["secret"] = SECRET
            cases += [
                Case(name, arguments, settings, text, connect_seconds=seconds)
                for arguments in some_of(COMMANDS, number).values()
            ]
        settings = {"database_url": "postgresql:///chat", "secret": SECRET}
        cases.append(Case("no host", SERVE, settings, r"names no host, as postgresql://"))
        settings = {"database_url": f"postgresql://ann@127.0.0.1:{port}/chat", "secret": SECRET}
        cases.append(Case("workers", [*SERVE, "--workers", "2"], settings, "refused"))
        await expect_one_line(cases, tmp_path, full_file)


async def test_unusable_database_is_reported_in_one_line(
    tmp_path: Path,
    full_file: Path,
    postgres: PostgresServer,
    empty_database: str,
    postgres_url: str,
) -> None:
    name = name_of(empty_database)
    other = name_of(postgres_url)
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    postgres.sql("DROP ROLE IF EXISTS nobody; CREATE ROLE nobody LOGIN")
    powerless = postgres_url.replace("postgres@", "nobody@")
    empty = postgres.new_database()
    newer = postgres.new_database(other)
    postgres.sql("UPDATE alembic_version SET version_num = '9999'", newer)
    cases = [
        Case("read-only", ["migrate"], {"database_url": empty_database}, "read-only"),
        Case("no tables", SERVE, {"database_url": empty_database}, "`chatcore migrate` first"),
        Case("no tables", ["check"], {"database_url": empty_database}, "`chatcore migrate` first"),
        Case("no tables", ["passwd", "ann"], {"database_url": empty_database}, "migrate` first"),
        Case("no rights", SERVE, {"database_url": powerless}, "run: GRANT USAGE ON SCHEMA"),
        Case("no right to read", ["check"], {"database_url": powerless}, "permission denied"),
        Case(
            "no right to make tables",
            ["migrate"],
            {"database_url": postgres.url(empty, "nobody")},
            "permission denied",
        ),
        *(
            Case("newer", arguments, {"database_url": postgres.url(newer)}, "newer chatcore")
            for arguments in some_of(COMMANDS, 0).values()
        ),
        Case("backup", ["backup", "x"], {"database_url": postgres_url}, "pg_dump"),
        Case("nobody", ["passwd", "ann"], {"database_url": postgres_url}, "there is no user"),
        *(
            Case("bus", SERVE, {"database_url": postgres_url, "bus_url": url}, "CHATCORE_BUS_URL")
            for url in (
                *(f"mysql://ann:{PASSWORD}@host", f"nats://ann:{PASSWORD}@host:port"),
                *(f"valkey://ann:{PASSWORD}@host:port", "valkey", f"redis://{PASSWORD}@[host"),
            )
        ),
    ]
    cases = [case._replace(settings={"secret": SECRET} | case.settings) for case in cases]
    try:
        await expect_one_line(cases, tmp_path, full_file)
    finally:
        for made in (empty, newer):
            postgres.drop_database(made)


def make_folder(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).mkdir()


def make_foreign(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "chatcore.db")) as database:
        database.execute("CREATE TABLE users (id int)")


def make_newer(folder: Path) -> None:
    (folder / "full.db").rename(folder / "chatcore.db")
    copy = (folder / "chatcore.db").read_bytes()
    (folder / "chatcore.db").unlink()
    (folder / "chatcore.db").write_bytes(copy)
    with closing(sqlite3.connect(folder / "chatcore.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()


async def test_unusable_file_is_reported_in_one_line(tmp_path: Path, full_file: Path) -> None:
    of_file = {
        "serve": SERVE,
        "migrate": ["migrate"],
        "check": ["check"],
        "backup": ["backup", "copy.db"],
        "passwd": ["passwd", "ann"],
    }
    cases = []
    for number, (name, prepare) in enumerate(
        (
            ("a folder", make_folder("chatcore.db")),
            ("text", lambda folder: (folder / "chatcore.db").write_text("Dear diary,\n" * 999)),
            ("another program's", make_foreign),
            ("newer", make_newer),
            ("a loop", lambda folder: (folder / "chatcore.db").symlink_to("chatcore.db")),
        )
    ):
        for command, arguments in some_of(of_file, number).items():
            if (name, command) != ("newer", "backup"):
                cases.append(Case(name, arguments, {}, prepare=prepare))
    for number, (name, url, text) in enumerate(
        (
            # Not even root can write there.
            ("no right", "sqlite:////sys/chatcore.db", ""),
            ("no folder", "sqlite:///no/chatcore.db", ""),
            ("no URL", "chat.db", "sqlite:///chat.db"),
        )
    ):
        cases += [
            Case(name, arguments, {"database_url": url}, text)
            for arguments in some_of(of_file, number).values()
        ]
    full = {"database_url": "sqlite:///full.db"}
    taken = "/proc/version"
    cases += [
        Case("a folder as key", SERVE, {}, "key", make_folder("chatcore.db.key")),
        Case("no room for the backup", ["backup", "no/copy.db"], full, "no/copy.db"),
        Case("in the backup's place", ["backup", taken], full, "already exists"),
        Case("from no file", ["copy", "--from", "sqlite:///no.db", "--to", "postgresql://x/y"], {}),
        Case("to no server", ["copy", "--from", "sqlite:///full.db", "--to", "full.db"], {}),
        Case("the wrong way", ["copy", "--from", "postgresql://x/y", "--to", "sqlite:///x"], {}),
        Case("workers", [*SERVE, "--workers", "2"], {}, "PostgreSQL"),
    ]
    with socket.create_server(("127.0.0.1", 0)) as in_use:
        port = in_use.getsockname()[1]
        cases += [
            Case("port in use", ["serve", "--port", str(port)], {}, f"{port} .* uses it"),
            Case("metrics' port", SERVE, {"metrics": f"127.0.0.1:{port}"}, f"{port} .* uses it"),
            Case("no such address", ["serve", "--host", "192.0.2.1"], {}, "no such address"),
            Case("metrics' address", SERVE, {"metrics": "192.0.2.1:9464"}, "192.0.2.1"),
            Case("metrics' host", SERVE, {"metrics": f"{UNKNOWN_HOST}:9464"}, "x.x"),
        ]
        await expect_one_line(cases, tmp_path, full_file)
