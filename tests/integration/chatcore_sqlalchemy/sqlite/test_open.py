"""Opening a database file: it works, or one line gives the reason."""

import asyncio
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from chatcore import UserName
from chatcore.testing.scene import ann_and_bob, read_all, send
from chatcore_sqlalchemy import CannotOpen, Migrated, SqlAlchemyStore, migrate, sqlite_path

NOBODY = 65534


async def use(url: str) -> None:
    """Open, write, close, open again, read."""
    async with await SqlAlchemyStore.open(url) as store:
        chat, ann, _ = await ann_and_bob(store)
        await send(store, chat, ann, "hello")
    async with await SqlAlchemyStore.open(url) as store:
        assert [message.text for message in await read_all(store, chat)] == ["hello"]


async def refusal(path: Path) -> str:
    """The refusal to open the file, the same for `chatcore migrate`."""
    with pytest.raises(CannotOpen) as refused:
        await SqlAlchemyStore.open(f"sqlite:///{path}")
    with pytest.raises(CannotOpen, match=re.escape(str(refused.value))):
        await migrate(f"sqlite:///{path}")
    line = str(refused.value)
    assert line.isprintable()
    return line


@pytest.mark.parametrize(
    "name",
    [
        "a b.db",
        "100%.db",
        "%20.db",
        "a?b=c.db",
        "a#b.db",
        "имя 名前 😀.db",
        "'\".db",
        "\\.db",
        "\n.db",
    ],
)
async def test_unusual_file_names_are_opened(name: str, tmp_path: Path) -> None:
    folder = tmp_path / f"in {name}"
    folder.mkdir()
    await use(f"sqlite:///{quote(str(folder))}/{quote(name)}")
    assert sorted(os.listdir(folder)) == [name, f"{name}-lock"]
    if name not in {"%20.db", "a?b=c.db"}:
        # Most of them need no quoting.
        async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/in {name}/{name}") as store:
            assert not store.created


async def test_relative_path_starts_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "what?mode=memory#"
    folder.mkdir()
    monkeypatch.chdir(folder)
    await use("sqlite:///chatcore.db")
    assert (folder / "chatcore.db").is_file()


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///c.db?mode=memory"),
        *("sqlite://c.db", "sqlite://host/c.db", "sqlite://user@/c.db", "sqlite+other:///c.db"),
        *(
            "sqlite:///a\0b",
            "sqlite:///a%00b",
            "",
            "chatcore.db",
            "postgresql//ann:secret@host",
            "x://host:port/c",
        ),
    ],
)
async def test_url_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(CannotOpen) as refused:
        sqlite_path(url)
    assert str(refused.value).isprintable()
    assert "secret" not in str(refused.value)
    with pytest.raises(CannotOpen):
        await SqlAlchemyStore.open(url)


async def test_url_of_another_database_is_refused() -> None:
    assert sqlite_path("postgresql://ann:secret@host/c") is None
    with pytest.raises(CannotOpen, match="postgresql://user"):
        await SqlAlchemyStore.open("mysql://ann:secret@host/c")


def text(path: Path) -> None:
    path.write_text("Dear diary,\n" * 100)


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")


def foreign_with_mark(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA application_id = 42")


def folder(path: Path) -> None:
    path.mkdir()


def loop_of_links(path: Path) -> None:
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (text, "cannot open .*: file is not a database"),
        (foreign, ".* is not a chatcore database; chatcore needs a file of its own, .*"),
        (foreign_with_mark, ".* is not a chatcore database; .*"),
        (folder, "cannot open .*: Is a directory"),
        (loop_of_links, "cannot open .*: .*"),
    ],
)
async def test_foreign_file_is_refused_and_left_unchanged(
    make: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "chatcore.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    assert re.fullmatch(reason, await refusal(path))
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert not {"chatcore.db-wal", "chatcore.db-shm"} & set(os.listdir(tmp_path))


async def test_missing_folder_is_refused(tmp_path: Path) -> None:
    assert (await refusal(tmp_path / "no" / "c.db")).endswith("/no is not a folder")
    (tmp_path / "file").touch()
    assert (await refusal(tmp_path / "file" / "c.db")).endswith("/file is not a folder")


async def test_file_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    assert (await refusal(tmp_path / ("x" * 300))).endswith(": File name too long")


def make(path: Path, mode: int) -> None:
    path.touch()
    path.chmod(mode)


@contextmanager
def mode(folder: Path, mode: int) -> Iterator[None]:
    before = folder.stat().st_mode
    folder.chmod(mode)
    yield
    folder.chmod(before)


@contextmanager
def without_privileges(folder: Path) -> Iterator[None]:
    """Drop the privileges of root, which may write everywhere."""
    if os.geteuid():
        yield
        return
    for parent in (folder, *folder.parents):
        if not os.stat(parent).st_mode & 0o001:
            parent.chmod(0o755)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_file_or_folder_without_write_permission_is_refused(tmp_path: Path) -> None:
    await use(f"sqlite:///{tmp_path}/chatcore.db")
    for name in ("chatcore.db-lock", "new.db-lock"):
        make(tmp_path / name, 0o666)
    make(tmp_path / "chatcore.db", 0o444)
    with mode(tmp_path, 0o555), without_privileges(tmp_path):
        for name in ("chatcore.db", "new.db", "no-lock.db"):
            assert (await refusal(tmp_path / name)).endswith(": Permission denied")


async def test_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "chatcore.db"
    await use(f"sqlite:///{path}")
    whole = path.read_bytes()
    for damaged in (
        whole[:100],
        whole[:4096],
        whole[: len(whole) // 2],
        whole[:100] + bytes(4096),
        whole[:16] + b"\xff" * 84 + whole[100:],
    ):
        path.write_bytes(damaged)
        assert re.fullmatch("cannot open .*", await refusal(path))


async def test_newer_schema_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "chatcore.db"
    await use(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    assert (await refusal(path)).endswith(" is of a newer chatcore; upgrade to open it")
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as connection, connection:
        # As a version with branched migrations would leave it.
        connection.execute("INSERT INTO alembic_version VALUES ('9998')")
    assert (await refusal(path)).endswith(" is of a newer chatcore; upgrade to open it")


async def test_old_sqlite_library_is_refused_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    assert (await refusal(tmp_path / "c.db")).startswith("SQLite 3.37 or later is needed, not ")


async def test_migrate_returns_the_revisions_before_and_after(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chatcore.db"
    made = await migrate(url)
    assert made == Migrated(None, made.after)
    assert await migrate(url) == Migrated(made.after, made.after)
    async with await SqlAlchemyStore.open(url) as store:
        assert not store.created
        with pytest.raises(CannotOpen, match="is in use by another"):
            await migrate(url)


async def test_store_is_created_only_in_a_new_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chatcore.db"
    # An empty file counts as new.
    (tmp_path / "chatcore.db").touch()
    for created in (True, False):
        async with await SqlAlchemyStore.open(url) as store:
            assert store.created == created
    (tmp_path / "chatcore.db").unlink()
    async with await SqlAlchemyStore.open(url) as store:
        assert store.created


async def test_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chatcore.db") as store:
            await store.add_user(UserName("ann"), "hash", 0)
            modes = {
                name: os.stat(tmp_path / name).st_mode & 0o777 for name in os.listdir(tmp_path)
            }
    finally:
        os.umask(before)
    files = ("chatcore.db", "chatcore.db-lock", "chatcore.db-shm", "chatcore.db-wal")
    assert modes == dict.fromkeys(files, 0o600)


async def test_one_file_has_one_lock_under_any_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "folder")
    (tmp_path / "link.db").symlink_to(tmp_path / "folder" / "chatcore.db")
    async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/link.db"):
        for name in ("link.db", "folder/chatcore.db", "linked/../folder/chatcore.db"):
            assert "is in use by another process" in await refusal(tmp_path / name)
    await use(f"sqlite:///{tmp_path}/linked/chatcore.db")


async def test_many_databases_are_created_concurrently(tmp_path: Path) -> None:
    await asyncio.gather(*(use(f"sqlite:///{tmp_path}/{number}.db") for number in range(8)))
