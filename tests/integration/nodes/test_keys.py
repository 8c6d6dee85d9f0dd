"""A service does not start on a database whose nodes have another secret."""

import re
from pathlib import Path

import pytest

from tests.support.postgres_server import PostgresServer, name_of
from tests.support.service import QuickService, run

A, B = "key A: thirty-two bytes, or more", "key B: thirty-two bytes, or more"
LINE = re.compile(r"chatcore: CHATCORE_SECRET has no key in common with another node [^\n]+\n")


def expect_refused(folder: Path, url: str, secret: str, workers: str = "1") -> None:
    ended = run(
        *("serve", "--port", "0", "--workers", workers),
        cwd=folder,
        database_url=url,
        secret=secret,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert LINE.fullmatch(ended.stderr), ended.stderr
    assert "thirty-two" not in ended.stderr


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    made = tmp_path / "one", tmp_path / "two", tmp_path / "three"
    for folder in made:
        folder.mkdir()
    return made


def test_service_with_another_secret_does_not_start(
    folders: tuple[Path, Path, Path], postgres: PostgresServer, postgres_url: str
) -> None:
    one, two, three = (QuickService(folder, database_url=postgres_url) for folder in folders)
    one.settings["secret"], two.settings["secret"] = A, f"new:{B},old:{A}"
    with one:
        for workers in ("1", "2"):
            expect_refused(folders[1], postgres_url, B, workers)
        # Both run while the key changes, and then the first one stops.
        with two:
            expect_refused(folders[2], postgres_url, B)
            one.stop()
            three.settings["secret"] = B
            with three:
                expect_refused(folders[0], postgres_url, A)
                two.kill()
                three.kill()
    # They crashed, so they still count, but not for ever.
    expect_refused(folders[0], postgres_url, A)
    postgres.sql("UPDATE node_keys SET seen_us = seen_us - 181000000", name_of(postgres_url))
    with one:
        pass
    # A service that stops leaves nothing behind: after a theft, any other key can follow.
    assert postgres.sql("SELECT count(*) FROM node_keys", name_of(postgres_url)) == "0"
