"""`litestar chat`: commands for the databases of the plugins, on real SQLite files."""

import asyncio
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from litestar import Litestar
from litestar.cli._utils import LitestarEnv
from litestar.cli.main import litestar_group

from chatcore import Messenger
from chatcore_litestar_plugin import ChatConfig, ChatPlugin
from chatcore_memory import MemoryStore
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.litestar_host import accounts_on, host


@pytest.fixture(autouse=True)
def fresh_command_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a command changes in its process, which runs one command in earnest."""
    monkeypatch.setattr(os, "nice", lambda _: 0)  # It would last for the other tests.
    terminate = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, terminate)


def plugin(path: str, file: Path | None) -> ChatPlugin:
    return ChatPlugin(
        ChatConfig(
            database_url=f"sqlite:///{file}" if file else None,
            store=None if file else MemoryStore(),
            accounts=accounts_on,
            path=path,
            security_scheme_name=path,
            messenger_dependency_key=f"messenger{path}",
            user_dependency_key=f"user{path}",
        )
    )


def run(app: Litestar, *arguments: str) -> Result:
    # The group loads the plugins of one application, once.
    litestar_group._prepare_done = False
    litestar_group.commands.pop("chat", None)
    environment = LitestarEnv("host:app", app, Path())
    return CliRunner().invoke(litestar_group, ["chat", *arguments], obj=environment)


def words_of(result: Result) -> str:
    """The output without the frame and the line breaks of rich."""
    return " ".join(re.sub("[─│╭╮╰╯]", " ", result.output).split())


async def _fill(file: Path) -> None:
    async with await SqlAlchemyStore.open(f"sqlite:///{file}") as store:
        messenger = Messenger(store, realm="shop")
        ann, bob = [await messenger.user(name, name=name) for name in ("ann", "bob")]
        await messenger.send(ann, await messenger.open_chat(ann, bob), "hello")


def fill(file: Path) -> None:
    asyncio.run(_fill(file))


def test_migrate_creates_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    app = host(plugins=[plugin("/chat", tmp_path / "chat.db")])
    first, second = run(app, "migrate"), run(app, "migrate")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.output.startswith("Migrated the database to revision ")
    assert second.output.startswith("Nothing to do: ")


def test_check_counts_rows_and_reports_faults(tmp_path: Path) -> None:
    file = tmp_path / "chat.db"
    fill(file)
    app = host(plugins=[plugin("/chat", file)])
    assert run(app, "check").output == "No faults in 2 users, 1 chats, 1 messages, 4 events\n"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE chats SET last_seq = 7")
    result = run(app, "check")
    assert result.exit_code == 1
    assert "Faults found in 2 users" in result.output
    assert len(result.output.splitlines()) > 1


def test_backup_copies_the_file_once(tmp_path: Path) -> None:
    file, copy = tmp_path / "chat.db", tmp_path / "copy.db"
    fill(file)
    app = host(plugins=[plugin("/chat", file)])
    result = run(app, "backup", str(copy))
    assert result.exit_code == 0
    assert result.output.startswith(f"{copy} holds everything stored when the copy began (")
    assert run(host(plugins=[plugin("/chat", copy)]), "check").exit_code == 0
    again = run(app, "backup", str(copy))
    assert again.exit_code == 2
    assert "already exists" in words_of(again)


def test_one_of_several_chats_is_chosen_by_its_path(tmp_path: Path) -> None:
    fill(tmp_path / "two.db")
    one, two = plugin("/one", tmp_path / "one.db"), plugin("/two", tmp_path / "two.db")
    app = host(plugins=[one, two])
    found = run(app, "check", "--path", "/two")
    assert found.output == "No faults in 2 users, 1 chats, 1 messages, 4 events\n"
    for arguments, complaint in [
        (["check"], "the application has several chats; add --path /one or --path /two"),
        (["check", "--path", "/x"], "no chat at /x; known: /one, /two"),
    ]:
        result = run(app, *arguments)
        assert result.exit_code == 2
        assert complaint in words_of(result)


def test_a_command_that_cannot_run_says_why(tmp_path: Path) -> None:
    missing = run(host(plugins=[plugin("/chat", tmp_path / "none.db")]), "check")
    assert missing.exit_code == 2
    assert "there is no file" in words_of(missing)


def test_a_store_of_the_host_has_no_commands(tmp_path: Path) -> None:
    result = run(host(plugins=[plugin("/chat", None)]), "migrate")
    assert result.exit_code == 2
    assert "the chat at /chat has no database_url in its ChatConfig" in words_of(result)
