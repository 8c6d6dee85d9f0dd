"""`chatcore migrate --adopt`: the operator accepts another database server."""

import asyncio
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from chatcore import Messenger, Reset
from chatcore.testing.scene import Scene, add_user, ann_and_bob
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.service import COMMAND, environment, run

STORE = "SELECT system_id, timeline, log FROM store"


async def prepared(url: str) -> tuple[Scene, str]:
    """Two users with a chat and a message, and a cursor after it."""
    async with await SqlAlchemyStore.open(url) as store:
        scene, messenger = await ann_and_bob(store), Messenger(store)
        await messenger.send(scene.ann, scene.chat, "hello")
        return scene, str((await messenger.sync(scene.bob)).cursor)


@pytest.fixture
def another(postgres: PostgresServer, postgres_url: str) -> tuple[Scene, str]:
    """A database whose store was on another server, as after a restore, and on a later timeline."""
    found = asyncio.run(prepared(postgres_url))
    change = "UPDATE store SET system_id = system_id - 1, timeline = 7"
    postgres.sql(change, name_of(postgres_url))
    return found


def adopt(folder: Path, url: str, typed: str) -> subprocess.CompletedProcess[str]:
    return run("migrate", "--adopt", cwd=folder, stdin=typed, database_url=url)


def test_adoption_makes_the_store_open_and_its_cursors_void(
    another: tuple[Scene, str], tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    async def open_and_follow() -> None:
        scene, cursor = another
        async with await SqlAlchemyStore.open(postgres_url) as store:
            messenger = Messenger(store)
            [reset] = await messenger.follow(scene.bob, after=cursor).batch(0)
            assert isinstance(reset, Reset)
            page = await messenger.page(scene.bob, scene.chat)
            assert [message.text for message in page.messages] == ["hello"]
            # Tokens of users who are lost may name the next ids.
            assert (await add_user(store, "eve")).id > scene.bob.id + 1_000_000

    with pytest.raises(CannotOpen, match="`chatcore migrate --adopt`"):
        asyncio.run(open_and_follow())
    done = adopt(tmp_path, postgres_url, f"{name_of(postgres_url)}\n")
    assert (done.returncode, done.stderr) == (0, "")
    nothing, line = done.stdout.splitlines()
    assert nothing.startswith("Nothing to do")
    assert re.fullmatch(
        rf"Adopted the server of the database {name_of(postgres_url)}: system identifier \d+, "
        r"timeline 1; before: system identifier \d+, timeline 7\. All cursors are void, .+",
        line,
    )
    system, timeline, _ = postgres.sql(STORE, name_of(postgres_url)).split("|")
    assert timeline == "1"
    assert system == postgres.sql("SELECT system_identifier FROM pg_control_system()")
    asyncio.run(open_and_follow())


def test_service_on_another_history_ends_with_one_line(
    another: tuple[Scene, str], tmp_path: Path, postgres_url: str
) -> None:
    assert another
    settings = {"database_url": postgres_url, "secret": "x" * 32}
    done = run("serve", "--port", "0", cwd=tmp_path, **settings)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("chatcore: cannot open the database: the database server has the system")
    assert line.endswith("run `chatcore migrate --adopt`")


@pytest.mark.parametrize("typed", ["", "yes\n", "\n"])
def test_adoption_without_the_name_of_the_database_changes_nothing(
    typed: str,
    another: tuple[Scene, str],
    tmp_path: Path,
    postgres: PostgresServer,
    postgres_url: str,
) -> None:
    assert another
    before = postgres.sql(STORE, name_of(postgres_url))
    done = adopt(tmp_path, postgres_url, typed)
    assert done.returncode == 2
    assert done.stderr == "chatcore: that is not the name of the database: nothing was adopted\n"
    assert postgres.sql(STORE, name_of(postgres_url)) == before


def test_terminal_is_asked_for_the_name_of_the_database(
    another: tuple[Scene, str], tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    assert another
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [*COMMAND, "migrate", "--adopt"],
            cwd=tmp_path,
            env=environment(database_url=postgres_url),
            stdin=theirs,
            stdout=subprocess.PIPE,
            text=True,
        )
        os.write(ours, f"{name_of(postgres_url)}\n".encode())
        output, _ = process.communicate(timeout=90)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 0
    assert "timeline 7." in output
    assert "type the name of the database" in output
    assert postgres.sql("SELECT timeline FROM store", name_of(postgres_url)) == "1"


def test_sqlite_file_has_nothing_to_adopt(tmp_path: Path) -> None:
    done = run("migrate", "--adopt", cwd=tmp_path, stdin="chatcore.db\n")
    assert done.returncode == 2
    assert "only PostgreSQL has" in done.stderr


def test_adoption_waits_until_no_service_runs(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    async def run_as_node(node: str) -> None:
        async with await SqlAlchemyStore.open(postgres_url) as store:
            now_us = await store.time_us()
            assert now_us is not None
            await store.see_node(node, lambda _: {"digest"}, now_us)

    async def stop(node: str) -> None:
        async with await SqlAlchemyStore.open(postgres_url) as store:
            await store.drop_node(node)

    asyncio.run(run_as_node("running"))
    before = postgres.sql(STORE, name_of(postgres_url))
    done = adopt(tmp_path, postgres_url, f"{name_of(postgres_url)}\n")
    assert done.returncode == 2
    assert re.fullmatch(
        r"chatcore: a service of this database was running \d+ seconds ago: stop all services "
        r"first; one that crashed counts for 3 minutes\n",
        done.stderr,
    )
    assert postgres.sql(STORE, name_of(postgres_url)) == before

    asyncio.run(stop("running"))
    asyncio.run(run_as_node("crashed"))
    # In place of the 3 minutes.
    postgres.sql("UPDATE node_keys SET seen_us = seen_us - 180000000", name_of(postgres_url))
    done = adopt(tmp_path, postgres_url, f"{name_of(postgres_url)}\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_adoption_needs_the_owner_of_the_tables(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    name = name_of(postgres_url)
    role = f"service_of_{name}"
    postgres.sql(f"CREATE ROLE {role} LOGIN")
    try:
        rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES"
        postgres.sql(f"GRANT USAGE ON SCHEMA chatcore TO {role}", name)
        postgres.sql(f"GRANT {rights} IN SCHEMA chatcore TO {role}", name)
        before = postgres.sql(STORE, name)
        done = adopt(tmp_path, postgres.url(name, role), f"{name}\n")
        assert (done.returncode, done.stderr) == (
            2,
            f"chatcore: the role {role} does not own the tables in the schema chatcore: "
            "run `chatcore migrate` as postgres\n",
        )
        assert postgres.sql(STORE, name) == before
    finally:
        postgres.sql(f"DROP OWNED BY {role}; DROP ROLE {role}", name)


@pytest.mark.parametrize("arguments", [("serve", "--port", "0"), ("migrate", "--adopt")])
def test_store_without_its_row_is_refused_in_one_line(
    arguments: tuple[str, ...], tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    name = name_of(postgres_url)
    postgres.sql("DELETE FROM store", name)
    settings = {"database_url": postgres_url, "secret": "x" * 32}
    done = run(*arguments, cwd=tmp_path, stdin=f"{name}\n", **settings)
    assert (done.returncode, done.stderr) == (
        2,
        "chatcore: cannot open the database: the table store in the schema chatcore shows no row "
        "to this role: restore it from a backup\n",
    )
