"""The examples of docs/outbox.md do what they show."""

import asyncio
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from chatcore.testing.scene import add_user, read_all
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.host import OUTBOX
from tests.support.repository import ROOT
from tests.support.service import run

DOCUMENT = (ROOT / "docs" / "outbox.md").read_text()


def block(name: str) -> str:
    [found] = re.findall(rf"^```{name}\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    return str(found)


def run_python(code: str, folder: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize(
    ("name", "dialect"),
    [("sqlite", sqlite.dialect()), ("postgresql", postgresql.dialect())],  # type: ignore[no-untyped-call]
)
def test_sql_creates_the_table_that_sqlalchemy_would(name: str, dialect: Any) -> None:
    [index] = OUTBOX.indexes
    compiled = [
        str(CreateTable(OUTBOX).compile(dialect=dialect)),
        str(CreateIndex(index).compile(dialect=dialect)),
    ]
    shown = block(f"sql {name}").strip().removesuffix(";").split(";")
    assert [each.split() for each in shown] == [each.split() for each in compiled]


def test_rows_of_a_synchronous_host_are_drained_as_shown(tmp_path: Path) -> None:
    async def texts(*, users: bool = False) -> list[str]:
        async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chatcore.db") as store:
            if users:
                await add_user(store, "ann"), await add_user(store, "bob")
                return []
            chat = await store.chat_with(1, "bob")
            assert chat
            return [message.text for message in await read_all(store, chat)]

    asyncio.run(texts(users=True))
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript("CREATE TABLE orders (buyer, item);" + block("sql sqlite"))
    run_python(block("python host"), tmp_path)
    *exports, command = block("sh drain").splitlines()
    settings = dict(re.findall(r"CHATCORE_(\w+)=(\S+)", "\n".join(exports)))
    program, *arguments = shlex.split(command)
    assert program == "chatcore"
    done = run(*arguments, cwd=tmp_path, **{name.lower(): url for name, url in settings.items()})
    assert (done.returncode, done.stdout, done.stderr) == (0, block("text drain"), "")
    assert asyncio.run(texts()) == ["I ordered your lamp."]
    for line in block("sh list").splitlines():
        words = shlex.split(line, comments=True)[1:]
        listed = run(*words, cwd=tmp_path, outbox_url=settings["OUTBOX_URL"])
        assert (listed.returncode, listed.stderr) == (0, "")


def test_program_that_embeds_chatcore_drains_in_a_task(tmp_path: Path) -> None:
    run_python(block("python"), tmp_path)
    assert run_python(block("python task"), tmp_path) == "a lamp\n"
