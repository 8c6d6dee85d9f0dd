"""The key file beside the database: persistent, private, and bound to that database."""

import os
import re
import secrets
import stat
from pathlib import Path

import pytest

from chatcore_server.key_file import forget_key_of_missing, key_of, key_path
from chatcore_server.settings import CannotStart


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "chatcore.db"
    path.write_bytes(b"data")
    return path


def test_key_is_created_once(database: Path) -> None:
    first = key_of(database, new=False)
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert key_of(database, new=False) == first
    assert key_path(database).read_text("ascii") == first + "\n"
    assert {path.name for path in database.parent.iterdir()} == {"chatcore.db", "chatcore.db.key"}


def test_a_new_database_gets_a_new_key(database: Path) -> None:
    assert len({key_of(database, new=True) for _ in range(10)}) == 10


def test_key_is_never_readable_by_others(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []

    def token_hex(size: int) -> str:
        # From here on a key exists, and no second file may receive it.
        modes.extend(stat.S_IMODE(file.stat().st_mode) for file in database.parent.glob("*.key*"))
        return "a" * 2 * size

    monkeypatch.setattr(secrets, "token_hex", token_hex)
    before = os.umask(0)
    try:
        key_of(database, new=True)
    finally:
        os.umask(before)
    assert [*modes, stat.S_IMODE(key_path(database).stat().st_mode)] == [0o600, 0o600]


def test_interrupted_start_does_not_block_the_next(database: Path) -> None:
    draft = key_path(database).with_name("chatcore.db.key.new")
    draft.write_text("half a k")
    assert len(key_of(database, new=False)) == 64
    assert not draft.exists()


def test_planted_link_is_not_written_through(database: Path) -> None:
    victim = database.parent / "victim"
    victim.write_text("precious")
    key_path(database).with_name("chatcore.db.key.new").symlink_to(victim)
    key_of(database, new=True)
    assert victim.read_text() == "precious"


def test_the_key_is_found_under_every_name_of_the_database(database: Path) -> None:
    link = database.parent / "link.db"
    link.symlink_to(database)
    assert key_of(link, new=False) == key_of(database, new=False)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_can_reach_is_refused(database: Path, mode: int) -> None:
    key_of(database, new=False)
    key_path(database).chmod(mode)
    with pytest.raises(CannotStart, match=rf"users can access .* \(mode {mode:04o}\)"):
        key_of(database, new=False)


@pytest.mark.parametrize("content", [b"", b"a" * 63 + b"\n", b"A" * 64 + b"\n", b"\xff" * 65])
def test_a_damaged_key_is_refused(database: Path, content: bytes) -> None:
    key_path(database).write_bytes(content)
    key_path(database).chmod(0o600)
    with pytest.raises(CannotStart, match="damaged"):
        key_of(database, new=False)


def test_folder_in_place_of_the_key_is_refused(database: Path) -> None:
    key_path(database).mkdir()
    with pytest.raises(CannotStart, match="cannot use the key"):
        key_of(database, new=False)


@pytest.mark.parametrize("left", [None, b""])
def test_key_of_a_deleted_database_is_replaced(database: Path, left: bytes | None) -> None:
    first = key_of(database, new=False)
    forget_key_of_missing(database)
    assert key_of(database, new=False) == first
    database.unlink()
    if left is not None:
        database.write_bytes(left)
    forget_key_of_missing(database)
    assert not key_path(database).exists()
    forget_key_of_missing(database)
