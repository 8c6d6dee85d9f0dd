"""The `chatcore` command: its output, and its refusals in one line."""

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chatcore_server.app import open_app
from chatcore_server.database import migrate
from chatcore_server.serving.listen import bind
from chatcore_server.settings import CannotStart, Settings
from tests.support.service import COMMAND, CommandService, Service, environment, run


def test_help_lists_every_setting(tmp_path: Path) -> None:
    shown = run("serve", "--help", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    for line in [
        *("HOST; default: 127.0.0.1", "PORT; default: 8000", "ACCESS_LOG; default: 0"),
        *("DATABASE_URL; default: sqlite:///chatcore.db", "MAX_CONNECTIONS; default: 10000"),
        *("SECRET", "X-Forwarded-For", "WORKERS; default: 1", "each has 6 connections"),
        *("--page [off|on]", "PAGE; default: on", "--access-log [0|1]"),
    ]:
        assert line in " ".join(shown.stdout.split())


@pytest.mark.parametrize("arguments", [["--help"], ["migrate", "--help"]])
def test_help_of_each_command_is_shown(arguments: list[str], tmp_path: Path) -> None:
    shown = run(*arguments, cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("usage: chatcore")


def test_installed_command_prints_its_version(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("chatcore")
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"chatcore \d+\.\d+\.\d+\n", shown.stdout)


def test_command_succeeds_when_the_reader_closes_early(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--help"],
        env=environment() | {"PYTHONUNBUFFERED": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.communicate(timeout=90)[1] == b""
    assert process.returncode == 0


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_command_succeeds_with_closed_standard_streams(closed: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *COMMAND, "migrate"],
        cwd=tmp_path,
        env=environment(),
        check=True,
        capture_output=True,
    )
    assert b"Traceback" not in done.stderr


def foreign_file(folder: Path) -> None:
    (folder / "chatcore.db").write_bytes(b"no database" * 1000)


def open_key(folder: Path) -> None:
    asyncio.run(migrate(Settings(database_url=f"sqlite:///{folder}/chatcore.db")))
    (folder / "chatcore.db.key").write_text("a" * 64 + "\n")
    (folder / "chatcore.db.key").chmod(0o644)


POSTGRESQL = "postgresql://somewhere/chats"


@pytest.mark.parametrize(
    ("settings", "arguments", "line"),
    [
        ({"port": "web"}, [], "CHATCORE_PORT is 'web'; expected a number from 0 to 65535"),
        ({}, ["--workers", "2"], "2 workers need PostgreSQL: one process at a time uses a"),
        ({"secret": "hush-hush"}, [], "CHATCORE_SECRET .* has 9 bytes; HS256 needs 32"),
        ({}, ["--nonsense"], r"unrecognized arguments: --nonsense \(see chatcore --help\)"),
    ],
)
def test_invalid_setting_is_refused_in_one_line(
    settings: dict[str, str], arguments: list[str], line: str, tmp_path: Path
) -> None:
    refused = run("serve", *arguments, cwd=tmp_path, **({"port": "0"} | settings))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.fullmatch(f"chatcore: .*{line}.*\n", refused.stderr)
    assert "hush-hush" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


async def start(settings: Settings) -> None:
    """Do what `serve` does before it answers."""
    for listener in bind(settings.host, 0):
        listener.close()
    async with open_app(settings):
        pass


@pytest.mark.parametrize(
    ("settings", "prepare", "line"),
    [
        ({"host": "192.0.2.1"}, None, "192.0.2.1: this machine has no such address"),
        ({"host": "x" * 64 + "\n"}, None, r"'x+\\n' is not a known address or host name"),
        (
            {"secret": "new:" + "x" * 32},
            None,
            "CHATCORE_SECRET must be one key, or new:KEY,old:KEY",
        ),
        ({"database_url": "chat.db"}, None, "not a database URL; expected sqlite:///chat.db"),
        ({"database_url": POSTGRESQL}, None, "CHATCORE_SECRET is missing"),
        (
            {"database_url": "postgresql://ann:hush-hush@127.0.0.1:1/x", "secret": "x" * 32},
            None,
            "cannot open the database: .*refused",
        ),
        ({"database_url": "sqlite:///no/c.db"}, None, "cannot open .*/no is not a folder"),
        ({}, foreign_file, "cannot open .*: file is not a database"),
        (
            {},
            open_key,
            r"users can access the key .*chatcore.db.key \(mode 0644\): run chmod 600 on",
        ),
    ],
)
def test_unusable_configuration_is_refused_in_one_line(
    settings: dict[str, str],
    prepare: Callable[[Path], None] | None,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if prepare is not None:
        prepare(tmp_path)
    with pytest.raises(CannotStart) as refused:
        asyncio.run(start(Settings(**settings)))  # type: ignore[arg-type]
    assert re.fullmatch(f".*{line}.*", str(refused.value))
    assert "hush-hush" not in str(refused.value)
    if prepare is None:
        assert list(tmp_path.iterdir()) == []


def test_port_in_use_is_refused_in_one_line_and_creates_no_file(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("serve", "--port", str(port), cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"chatcore: cannot listen on port {port} of 127.0.0.1: another process uses it\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with CommandService(tmp_path_factory.mktemp("started")) as service:
        yield service


def test_second_service_on_the_same_file_is_refused(started: Service) -> None:
    second = run("serve", "--port", "0", cwd=started.folder)
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr == (
        f"chatcore: {started.database_path} is in use by another process: stop that one first, or "
        "use PostgreSQL, which serves several\n"
    )


def test_start_log_names_the_url_and_the_database(started: Service) -> None:
    assert started.log_with("signs tokens").splitlines() == [
        f"chatcore 0.1.0 listens on {started.url}",
        f"It keeps its data in {started.database_path} and signs tokens with the key in "
        f"{started.database_path}.key",
    ]


def test_start_log_names_the_secret_and_warns_of_unknown_settings(tmp_path: Path) -> None:
    with CommandService(tmp_path, secret="s" * 32, prot="1", host="localhost") as service:
        assert service.log_with("signs tokens").splitlines() == [
            "chatcore: warning: unknown setting CHATCORE_PROT; did you mean CHATCORE_PORT?",
            f"chatcore 0.1.0 listens on {service.url}",
            f"It keeps its data in {tmp_path}/chatcore.db and signs tokens with CHATCORE_SECRET",
        ]
    assert not (tmp_path / "chatcore.db.key").exists()


def test_migrate_creates_a_database_and_is_idempotent(tmp_path: Path) -> None:
    first, again = run("migrate", cwd=tmp_path), run("migrate", cwd=tmp_path)
    assert (first.returncode, first.stderr, again.returncode, again.stderr) == (0, "", 0, "")
    made = re.fullmatch(r"Migrated the database to revision (\w+); before: empty\n", first.stdout)
    assert made is not None
    assert again.stdout == f"Nothing to do: the database is at revision {made[1]}\n"


def test_failed_migration_is_reported_in_one_line(tmp_path: Path) -> None:
    refused = run("migrate", "--database-url", "sqlite:///no/c.db", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.fullmatch("chatcore: cannot open .*/no is not a folder\n", refused.stderr)
