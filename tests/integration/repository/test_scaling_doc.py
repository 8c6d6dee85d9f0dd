"""The testable claims of docs/scaling.md and the README about growth hold."""

import asyncio
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from chatcore import Messenger, NewMessage, UserName, bus, following
from chatcore.testing import CHAT_STORE_CHECKS
from chatcore_notify import NotifyDoorbell
from chatcore_postgres import servers
from chatcore_postgres.keepalives import Keepalives
from chatcore_server.settings import Settings
from chatcore_sqlalchemy import SqlAlchemyStore, group_commit
from chatcore_sqlalchemy.postgres import batch as postgres_batch
from chatcore_sqlalchemy.postgres import connection, history
from tests.support.clients import client_at
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.repository import ROOT
from tests.support.service import QuickService, environment, run
from tests.support.statements import STATEMENTS

SCALING = (ROOT / "docs" / "scaling.md").read_text()
FAILOVER = (ROOT / "docs" / "failover.md").read_text("utf-8")
README = (ROOT / "README.md").read_text()
OF_SOCKET = Keepalives().idle, Keepalives().interval, Keepalives().count
OF_SESSION = history.AGE_SECONDS, history.AGE_SPREAD_SECONDS


def block(text: str, name: str) -> str:
    found = re.search(rf"^```\w+ {name}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found, name
    return found[1]


def test_every_statement_has_its_row() -> None:
    table = SCALING.partition("statement by statement")[2].partition("What needs care")[0]
    named = {
        word
        for line in table.splitlines()
        for word in re.findall(r"`([A-Z_]+)`", line.partition(" | ")[0])
    }
    in_batches = {name for name, made in vars(postgres_batch).items() if isinstance(made, str)}
    in_batches = {name for name in in_batches if name.isupper()}
    assert len(STATEMENTS) > 30
    assert len(in_batches) > 2
    assert (set(STATEMENTS) | in_batches) - named == set()


@pytest.mark.parametrize(
    "text", [SCALING, FAILOVER, README.partition("## When one")[2].partition("\n## ")[0]]
)
def test_named_settings_exist(text: str) -> None:
    named = {name.lower() for name in re.findall(r"CHATCORE_([A-Z_]+)", text)}
    assert named
    assert named <= set(Settings.__dataclass_fields__)


@pytest.mark.parametrize(
    ("said", "is_so"),
    [
        ("the newest 10,000 of each user", lambda: Settings().keep_events == 10_000),
        ("for 30 days", lambda: Settings().keep_events_days == 30),
        ("every 5 seconds even if nothing rings", lambda: following.POLL_SECONDS == 5),
        ("chatcore stops at 7,900", lambda: bus.MESSAGE_BYTES == 7_900),
        ("batches grow, up to 128", lambda: group_commit.MAX_BATCH == 128),
    ],
)
def test_figures_match_the_code(said: str, is_so: Callable[[], bool]) -> None:
    assert said in SCALING
    assert is_so()


@pytest.mark.parametrize(
    ("said", "is_so"),
    [
        ("only if 2 seconds for each server", lambda: servers.CONNECT_SECONDS_EACH == 2),
        ("only if 60, 10 and 3 do not suit", lambda: OF_SOCKET == (60, 10, 3)),
        ("notices after 90 seconds", lambda: OF_SOCKET[0] + OF_SOCKET[1] * OF_SOCKET[2] == 90),
        ("one in use after 7 seconds", lambda: connection.ANSWER_SECONDS == 7),
        ("after 60 to 90 seconds in any case", lambda: OF_SESSION == (60, 30)),
        ("A session is replaced after 60 to 90 seconds", lambda: OF_SESSION == (60, 30)),
    ],
)
def test_limits_of_failover_match_the_code(said: str, is_so: Callable[[], bool]) -> None:
    assert said in FAILOVER
    assert is_so()


@pytest.mark.parametrize(("key", "said"), [(False, 115), (True, 235)])
async def test_storage_of_a_message_matches_the_document(
    tmp_path: Path, key: bool, said: int
) -> None:
    assert re.search(rf"\*\*with(out)? a key\*\* \| \*\*\d+\*\* \| \*\*{said}\*\*", SCALING)
    path, count = tmp_path / "chatcore.db", 1_500

    def compacted() -> int:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("VACUUM")
        return path.stat().st_size

    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        users = [await store.add_user(UserName(f"user{n}"), "hash", 0) for n in range(60)]
        chats = [await store.open_chat(a.id, b.id, 0) for a, b in pairwise(users)]
    empty = compacted()
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        await asyncio.gather(
            *(
                store.append_message(
                    NewMessage(
                        chats[n % len(chats)].id,
                        chats[n % len(chats)].users[n % 2].id,
                        "x" * 40,
                        1_700_000_000_000_000 + n,
                        f"{n:036}" if key else None,
                    )
                )
                for n in range(count)
            )
        )
    assert (compacted() - empty) / count == pytest.approx(said, rel=0.1)


async def test_number_of_connections_matches_the_document(
    postgres: PostgresServer, postgres_url: str
) -> None:
    async with (
        await SqlAlchemyStore.open(postgres_url) as store,
        await NotifyDoorbell.open(postgres_url) as doorbell,
    ):
        messenger = Messenger(store, doorbell=doorbell)
        ann, bob = [await store.add_user(UserName(name), "hash", 0) for name in ("ann", "bob")]
        chat = await messenger.open_chat(ann, bob)
        reads = (store.user_by_id(ann.id) for _ in range(40))
        sends = (messenger.send(ann, chat, "hello") for _ in range(40))
        await asyncio.gather(*reads, *sends)
        held = postgres.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'chatcore%' "  # noqa: S608
            f"AND datname = '{name_of(postgres_url)}'"
        )
    assert f"Each process holds up to {held} [m]" in SCALING
    assert f"`pool_size` of at least {held} × processes" in FAILOVER


async def test_stores_work_on_partitioned_tables(
    postgres: PostgresServer, migrated_template: str, soak: bool
) -> None:
    """The stores keep their promises on partitioned tables. The short form runs the checks of the
    tables' keys only."""
    parted = postgres.new_database(migrated_template)
    postgres.sql(block(SCALING, "partitions"), parted)
    short = [check for check in CHAT_STORE_CHECKS if "key" in check.__name__]
    assert short
    for check in CHAT_STORE_CHECKS if soak else short:
        database = postgres.new_database(parted)
        async with await SqlAlchemyStore.open(postgres.url(database)) as store:
            await check(store)
        postgres.drop_database(database)
    postgres.drop_database(parted)


async def test_restored_database_resets_cursors_and_skips_ids(
    tmp_path: Path, postgres_url: str
) -> None:
    async with await SqlAlchemyStore.open(postgres_url) as store:
        ann, bob = [await store.add_user(UserName(name), "hash", 0) for name in ("ann", "bob")]
        await store.open_chat(ann.id, bob.id, 0)
        cursor = await store.end_of_log(ann.id)
    typed, command = block(SCALING, "restored").strip().split(" | ")
    assert typed == "echo chat"
    name, *arguments, _ = command.split()
    assert name == "chatcore"
    done = run(*arguments, postgres_url, cwd=tmp_path, stdin=f"{name_of(postgres_url)}\n")
    assert done.returncode == 0, done.stderr
    async with await SqlAlchemyStore.open(postgres_url) as store:
        assert await store.events_after(cursor, limit=10) is None
        eve = await store.add_user(UserName("eve"), "hash", 0)
        assert eve.id > bob.id + 1_000_000
        assert (await store.open_chat(ann.id, eve.id, 0)).id > 1_000_000
        assert await store.events_after(await store.end_of_log(ann.id), limit=10) == []


def test_commands_lead_from_a_file_to_several_services(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """The commands of the README end with two services; a token of the first works on both."""
    url = postgres.url(postgres.new_database())
    *commands, last = block(README, "cluster").splitlines()
    serve = re.fullmatch(r"CHATCORE_WORKERS=(\d+) chatcore serve .*", last)
    assert serve
    ann = {"username": "ann", "password": "correct horse battery"}
    with QuickService(tmp_path) as file, client_at(file.url) as http:
        http.post("/register", json=ann).raise_for_status()
        [token] = http.post("/login", json=ann).raise_for_status().json().values()
    shown = "postgresql://user:password@host/chatcore"
    assert any(shown in command for command in commands)
    script = "\n".join(["set -e", *commands, 'echo "$CHATCORE_SECRET"'])
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", script.replace(shown, f"'{url}'")],
        cwd=tmp_path,
        env=environment() | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "every row verified: 1 users" in done.stdout + done.stderr
    bearer = {"Authorization": f"Bearer {token}"}
    secret = done.stdout.splitlines()[-1]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with (
        QuickService(tmp_path, database_url=url, secret=secret, workers=serve[1]) as here,
        QuickService(elsewhere, database_url=url, secret=secret) as there,
    ):
        for service in (here, there):
            with client_at(service.url) as http:
                answer = http.get("/chats", headers=bearer)
            assert (answer.status_code, answer.json()) == (200, [])
